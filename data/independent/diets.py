"""What fits a way of eating, and what does not."""

from collections.abc import Iterator

from question import Question, choice, verdict

_VEGAN = "The Vegan Society: nothing from animals, honey included"
_VEGETARIAN = "The Vegetarian Society: no meat, fish, gelatine or animal rennet"
_EGG = "FSSAI: vegetarian food has no egg; an eggetarian eats eggs, but no meat or fish"
_PESCO = "NHS, Vegetarian and vegan diets: pescatarians eat fish"
_HALAL = "Codex CAC/GL 24-1997, General guidelines for use of the term halal"
_KOSHER = "Leviticus 11 and Deuteronomy 14; OU Kosher"
_JAIN = "Jain diet: no meat, egg, honey, nor roots such as onion, garlic, potato, carrot"
_COELIAC = "Coeliac UK: no wheat, barley, rye; oats only if labelled gluten free"
_LACTOSE = "NHS, Lactose intolerance"
_ALLERGY = "UK Food Standards Agency, the 14 allergens"
_KETO = "ketogenic diets: 20 to 50 g of carbohydrate a day"
_HINDU = "Hindu custom: no beef"


def questions() -> Iterator[Question]:
    """Yield them all."""
    yield from _vegan()
    yield from _vegetarian()
    yield from _faith()
    yield from _gluten()
    yield from _milk_and_nuts()


def _vegan() -> Iterator[Question]:
    yield choice(
        "vegan here. which of these can i put on my porridge: honey, maple syrup, greek yoghurt?",
        ["maple syrup"],
        ["honey", "greek yoghurt|yoghurt|yogurt"],
        "Maple syrup.",
        "Honey or the yoghurt.",
        _VEGAN,
    )
    yield verdict(
        "Is honey vegan? Short reason please.",
        "no",
        ["bee", "animal", "insect"],
        "No, bees make it.",
        "Yes, it's a natural plant sugar.",
        _VEGAN,
    )
    yield choice(
        "Protein powders on offer: whey, casein, pea, egg white. I'm vegan. Which one?",
        ["pea"],
        ["whey", "casein", "egg white|egg"],
        "The pea protein.",
        "Casein, it's slow.",
        _VEGAN,
    )
    yield choice(
        "A vegan friend comes for dinner after training. Name three protein foods I could cook.",
        [
            "tofu",
            "tempeh",
            "lentil|dal|daal",
            "chickpea|hummus",
            "bean",
            "seitan",
            "edamame|soya|soy",
            "pea",
            "quinoa",
            "nut",
            "peanut",
        ],
        [
            "chicken",
            "egg",
            "fish|salmon|tuna|cod|prawn",
            "cheese|paneer|halloumi",
            "yoghurt|yogurt",
            "beef|steak",
            "milk",
            "whey",
            "turkey",
        ],
        "Tofu, lentils and chickpeas.",
        "Tofu, eggs and paneer.",
        _VEGAN,
        least=3,
    )
    yield verdict(
        "Paneer for a vegan? yes or no and why",
        "no",
        ["milk", "dairy", "cheese", "cow"],
        "No. It is made of milk.",
        "Yes, there's no meat in it.",
        _VEGAN,
    )
    yield choice(
        "what milk for vegan shakes, one with decent protein. skimmed, soya or goat?",
        ["soya|soy"],
        ["skimmed", "goat"],
        "Soya.",
        "Skimmed, it has the most protein.",
        _VEGAN,
    )
    yield verdict(
        "Do vegans eat seitan? I ask because someone said it's like meat. With the reason.",
        "yes",
        ["wheat", "gluten", "plant"],
        "Yes, it is wheat gluten.",
        "No, it is a kind of meat.",
        _VEGAN,
    )
    yield choice(
        "Which vitamin must a vegan take as a supplement or in fortified food, according to the NHS and "
        "nearly everyone else?",
        ["b12|vitamin b12|cobalamin"],
        ["vitamin c", "folate|folic acid", "vitamin e"],
        "Vitamin B12.",
        "Vitamin C.",
        "NHS, The vegan diet",
    )
    yield choice(
        "Gummies with gelatine, dark chocolate without milk, a whey bar. Snack for a vegan?",
        ["dark chocolate|chocolate"],
        ["gummies|gummy", "gelatine|gelatin", "whey bar"],
        "The dark chocolate.",
        "The gummies.",
        _VEGAN,
    )
    yield choice(
        "I cook without any animal products. What can replace the egg as a binder in a pancake? One "
        "thing is enough",
        [
            "flax|flaxseed|linseed",
            "chia",
            "banana",
            "apple sauce|applesauce",
            "aquafaba",
            "starch",
            "chickpea flour|gram flour|besan",
            "baking powder",
            "egg replacer",
            "silken tofu|tofu",
        ],
        [
            "yoghurt|yogurt",
            "buttermilk|butter",
            "gelatine|gelatin",
            "honey",
            "egg yolk",
            "milk|cream",
        ],
        "Ground flaxseed stirred into water.",
        "A spoon of yoghurt.",
        _VEGAN,
        least=1,
    )


def _vegetarian() -> Iterator[Question]:
    yield verdict(
        "I'm vegetarian. Can I have parmesan, strictly speaking? Why?",
        "no",
        ["rennet", "calf", "calves", "stomach"],
        "No, it is made with animal rennet.",
        "Yes, it's just cheese.",
        _VEGETARIAN,
    )
    yield verdict(
        "vegetarians and gelatine capsules, ok or not? say yes or no and what they're made of",
        "no",
        ["bone", "skin", "pig", "pork", "beef", "hide", "collagen", "animal"],
        "No. Gelatine comes from skin and bones.",
        "Yes, they are made from starch.",
        _VEGETARIAN,
    )
    yield choice(
        "Vegetarian, no eggs but milk is fine (Indian style). Pick for breakfast: omelette, paneer "
        "bhurji, chicken sausage.",
        ["paneer bhurji|paneer"],
        ["omelette|omelet", "chicken sausage|sausage"],
        "Paneer bhurji.",
        "The omelette.",
        _EGG,
    )
    yield choice(
        "eggetarian lunch for protein. boiled eggs, tuna, or turkey slices",
        ["boiled egg|egg"],
        ["tuna", "turkey", "chicken", "fish"],
        "The boiled eggs.",
        "Tuna.",
        _EGG,
    )
    yield verdict(
        "Does an eggetarian eat fish? And what's the rule?",
        "no",
        ["egg"],
        "No: eggs, but neither meat nor fish.",
        "Yes, fish doesn't count as meat there.",
        _EGG,
    )
    yield choice(
        "I'm pescatarian. Which of the three for dinner: lamb kofta, grilled mackerel, chicken tikka?",
        ["mackerel"],
        ["lamb", "chicken"],
        "The mackerel.",
        "Chicken tikka.",
        _PESCO,
    )
    yield choice(
        "Vegetarian at a barbecue. Halloumi, prawns, veggie skewers, bacon beans: what can I take? There "
        "are two.",
        ["halloumi", "veggie skewer|skewer"],
        ["prawn", "bacon|bacon beans"],
        "Halloumi and the veggie skewers.",
        "Prawns and halloumi.",
        _VEGETARIAN,
    )
    yield choice(
        "Iron without meat: name two vegetarian foods with a lot of it.",
        [
            "lentil|dal|daal",
            "spinach",
            "tofu",
            "bean",
            "chickpea",
            "pumpkin seed",
            "fortified cereal",
            "quinoa",
            "cashew",
            "dried apricot",
            "kale",
            "oat",
            "tempeh",
            "soybean|soya",
            "sesame|tahini",
            "edamame",
            "pea",
        ],
        [
            "liver",
            "beef|steak",
            "chicken",
            "sardine",
            "mussel|clam|oyster",
            "tuna|salmon|fish",
            "turkey",
        ],
        "Lentils and pumpkin seeds.",
        "Liver and mussels.",
        "NHS, Iron",
        least=2,
    )
    yield verdict(
        "My vegetarian team mate was served soup made with fish stock. Is this alright for her? Why?",
        "no",
        [
            "fish is",
            "fish are",
            "animal",
            "from fish",
            "contains fish",
            "made of fish",
            "made with fish",
            "fish counts",
            "fish in it",
        ],
        "No, she doesn't eat what is made from fish.",
        "Yes, there are no pieces in it.",
        _VEGETARIAN,
    )
    yield choice(
        "omega 3 without fish, i'm veggie. one source",
        [
            "flax|flaxseed|linseed",
            "chia",
            "walnut",
            "algae|algal|algae oil",
            "hemp",
            "rapeseed|canola",
        ],
        ["salmon", "fish oil|cod liver", "krill", "tuna|mackerel|sardine|herring"],
        "Walnuts, or algae oil.",
        "Krill capsules.",
        "NHS, The vegetarian diet",
        least=1,
    )


def _faith() -> Iterator[Question]:
    yield choice(
        "Halal only. Hotel buffet has bacon, beans in tomato sauce, pork sausages and wine-poached pears. "
        "What is left for me?",
        ["bean"],
        ["bacon", "sausage", "pear"],
        "The beans.",
        "The pears and the beans.",
        _HALAL,
    )
    yield verdict(
        "Are marshmallows made with pork gelatine halal? reason too",
        "no",
        ["pig", "swine", "forbidden", "haram", "not permitted", "prohibited"],
        "No, pigs are haram and so is their gelatine.",
        "Yes, gelatine is only a setting agent.",
        _HALAL,
    )
    yield choice(
        "Muslim athlete, wants a recovery meal. Ham sandwich, grilled cod with rice, or beer battered "
        "pork?",
        ["cod|grilled cod"],
        ["ham|ham sandwich", "pork"],
        "Grilled cod with rice.",
        "Ham sandwich.",
        _HALAL,
    )
    yield choice(
        "In Ramadan I fast in daylight. When do I eat and drink around an evening session: at noon, "
        "after sunset, or mid-afternoon?",
        ["after sunset|sunset|iftar"],
        ["noon", "mid-afternoon|afternoon"],
        "After sunset, at iftar.",
        "Have something at noon.",
        "Quran 2:187",
    )
    yield verdict(
        "kosher: may i have a cheeseburger made of kosher beef? why (not)",
        "no",
        ["dairy", "milk", "mixing", "together"],
        "No, meat and dairy aren't eaten together.",
        "Yes, as long as the beef is kosher.",
        _KOSHER,
    )
    yield choice(
        "Which of these seafoods is kosher - shrimp, salmon, lobster, squid?",
        ["salmon"],
        ["shrimp", "lobster", "squid"],
        "Salmon; it has fins and scales.",
        "Lobster.",
        _KOSHER,
    )
    yield choice(
        "My client is Jain. Vegetable for her curry: potato, onion, carrot or cauliflower?",
        ["cauliflower"],
        ["potato", "onion", "carrot"],
        "Cauliflower.",
        "Potato.",
        _JAIN,
    )
    yield verdict(
        "Do Jains eat garlic? What's the reason?",
        "no",
        ["root", "underground", "bulb", "harm", "ahimsa", "ground", "organisms", "violence"],
        "No, because pulling up a bulb kills the whole plant and what lives around it: harm is avoided.",
        "Yes, garlic is a plant.",
        _JAIN,
    )
    yield choice(
        "Jain and vegetarian breakfast with protein. Moong dal chilla without onion, masala omelette, or "
        "aloo paratha?",
        ["moong dal chilla|chilla|moong"],
        ["omelette|omelet", "aloo paratha|paratha"],
        "The moong dal chilla.",
        "Aloo paratha.",
        _JAIN,
    )
    yield choice(
        "A Hindu guest eats meat, but which of chicken, mutton and beef would I not serve him, by custom? "
        "Just name it.",
        ["beef"],
        ["chicken", "mutton"],
        "Beef.",
        "Mutton.",
        _HINDU,
    )


def _gluten() -> Iterator[Question]:
    yield choice(
        "coeliac, which carb before the race: couscous, rice, or barley soup",
        ["rice"],
        ["couscous", "barley", "oat"],
        "Rice.",
        "Couscous.",
        _COELIAC,
    )
    yield verdict(
        "My wife has coeliac disease. Is spelt bread safe for her? Why?",
        "no",
        ["wheat", "gluten"],
        "No, spelt is a wheat.",
        "Yes, spelt is an ancient grain and gentle.",
        _COELIAC,
    )
    yield verdict(
        "Can someone with coeliac eat quinoa? Reason in a word or two.",
        "yes",
        [
            "gluten free",
            "gluten-free",
            "no gluten",
            "free of gluten",
            "without gluten",
            "not contain gluten",
        ],
        "Yes, it's gluten free.",
        "No, it's a grain like wheat.",
        _COELIAC,
    )
    yield choice(
        "Which two of these hide gluten: soy sauce, corn tortilla, beer, potato, polenta?",
        ["soy sauce", "beer"],
        ["corn tortilla|tortilla", "potato", "polenta"],
        "Soy sauce and beer.",
        "Polenta and the tortilla.",
        _COELIAC,
    )
    yield choice(
        "I've coeliac disease and bake my own bars. Name two flours I may use.",
        [
            "rice|rice flour",
            "buckwheat",
            "corn|maize|cornflour",
            "almond",
            "chickpea|gram|besan",
            "coconut",
            "tapioca",
            "potato",
            "sorghum",
            "millet",
            "quinoa",
            "teff",
            "cassava",
        ],
        ["wheat", "spelt", "rye", "barley", "semolina", "durum", "kamut", "bulgur", "wholemeal"],
        "Buckwheat and almond flour.",
        "Spelt and rye flour.",
        _COELIAC,
        least=2,
    )
    yield verdict(
        "seitan for a coeliac vegan?? and why",
        "no",
        ["gluten", "wheat"],
        "No way, it is pure wheat gluten.",
        "Yes, it's plant protein.",
        _COELIAC,
    )
    yield choice(
        "Beer after the game for my coeliac mate: lager, stout, wheat beer or cider?",
        ["cider"],
        ["lager", "stout", "wheat beer"],
        "Cider.",
        "A lager.",
        _COELIAC,
    )
    yield choice(
        "Oats and coeliac disease: ordinary ones or those labelled gluten free? Pick one for me",
        ["labelled|gluten free|labeled|certified"],
        ["ordinary|normal|regular"],
        "Only the ones labelled gluten free.",
        "The ordinary ones.",
        _COELIAC,
    )


def _milk_and_nuts() -> Iterator[Question]:
    yield choice(
        "lactose intolerant, i get cramps from milk. which protein: whey concentrate, rice protein, or "
        "skimmed milk powder?",
        ["rice protein|rice"],
        ["whey", "skimmed milk powder|milk powder"],
        "The rice protein.",
        "Whey concentrate.",
        _LACTOSE,
    )
    yield choice(
        "Which has hardly any lactose: cow's milk, ice cream, or aged cheddar?",
        ["aged cheddar|cheddar"],
        ["cow's milk|milk", "ice cream"],
        "Aged cheddar.",
        "Ice cream.",
        _LACTOSE,
    )
    yield verdict(
        "Does lactose-free milk still suit someone with a milk protein allergy? Say why.",
        "no",
        ["protein", "casein", "whey"],
        "No, the milk protein is still in there.",
        "Yes, because the lactose is gone.",
        "NHS, Cows' milk allergy",
    )
    yield choice(
        "Calcium without dairy - two foods?",
        [
            "tofu",
            "kale",
            "sardine",
            "almond",
            "fortified cereal|fortified juice|fortified orange juice",  # fortified tofu is one food
            "sesame|tahini",
            "broccoli",
            "okra",
            "bok choy|pak choi",
            "fig",
            "soya drink|soy milk|soya milk|oat milk|almond milk",
            "spring greens|collard",
            "chia",
            "ragi",
            "soya bean|soybean|edamame",
            "white bean|bean",
            "bread",
        ],
        [
            "cheese",
            "yoghurt|yogurt",
            "paneer",
            "cow's milk|skimmed milk|whole milk",
            "whey",
            "curd",
            "kefir",
        ],
        "Sardines with their bones, and kale.",
        "Yoghurt and cheese.",
        "NHS, Calcium",
        least=2,
    )
    yield choice(
        "peanut allergy. which sauce is the danger: satay, marinara, or tzatziki",
        ["satay"],
        ["marinara", "tzatziki"],
        "Satay.",
        "Tzatziki.",
        _ALLERGY,
    )
    yield verdict(
        "Egg allergy: may I use mayonnaise in the tuna wrap? why",
        "no",
        ["yolk", "egg", "eggs"],
        "No, mayonnaise is made with yolk.",
        "Yes, mayonnaise is just oil.",
        _ALLERGY,
    )
    yield choice(
        "Shellfish allergy at the team dinner. Leave out which one: prawn curry, dal, roast chicken? One "
        "dish only.",
        ["prawn curry|prawn"],
        ["dal", "roast chicken|chicken"],
        "The prawn curry.",
        "The dal.",
        _ALLERGY,
    )
    yield choice(
        "keto. which side keeps me under 20 g carbs: a big jacket potato, cauliflower mash, or a plate of "
        "rice",
        ["cauliflower|cauliflower mash"],
        ["potato|jacket potato", "rice"],
        "Cauliflower mash.",
        "The rice.",
        _KETO,
    )
    yield choice(
        "No dairy and vegetarian, but eggs are fine. For lunch: omelette with peppers, cheese toastie, "
        "tuna salad?",
        ["omelette|omelet"],
        ["cheese|toastie", "tuna"],
        "The omelette.",
        "The cheese toastie.",
        _EGG,
    )
    yield choice(
        "nut free school event and the kids run all day. what can i bring: granola with almonds, banana, "
        "peanut butter cups?",
        ["banana"],
        ["granola|almond", "peanut butter cup|peanut"],
        "Bananas.",
        "The granola.",
        _ALLERGY,
    )
    yield verdict(
        "vegetarian + lactose intolerant. is tofu fine for both? why",
        "yes",
        ["soy", "soya", "soybean"],
        "Yes, it's made of soya beans.",
        "No, tofu is a fresh cheese.",
        _LACTOSE,
    )
    yield choice(
        "Gout diet, low purines. From liver, anchovies and low-fat yoghurt, what may I eat?",
        ["yoghurt|yogurt"],
        ["liver", "anchovies|anchovy"],
        "The yoghurt.",
        "Anchovies.",
        "NHS, Gout",
    )
