// Chats kept in this browser, in IndexedDB. Each is {id, version, changed, messages}.

let opening = null;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("fitbot", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("chats", { keyPath: "id", autoIncrement: true });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

// Runs `work` on the store and resolves with its request's result once all of it is on disk.
async function transact(mode, work) {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction("chats", mode);
    const request = work(transaction.objectStore("chats"));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

// Every chat, the latest first.
export async function all() {
  const chats = await transact("readonly", (store) => store.getAll());
  return chats.sort((one, other) => other.changed - one.changed);
}

export const read = (id) => transact("readonly", (store) => store.get(id));
export const remove = (id) => transact("readwrite", (store) => store.delete(id));
export const clear = () => transact("readwrite", (store) => store.clear());

// Writes a chat, and gives it an id if it has none. Where another tab has written or deleted it in
// the meantime, it becomes a chat of its own: neither tab's turns are lost.
export async function save(chat) {
  const stored = chat.id && (await read(chat.id));
  if (stored?.version !== chat.version) delete chat.id;
  chat.version = (chat.version ?? 0) + 1;
  chat.changed = Date.now();
  chat.id = await transact("readwrite", (store) => store.put({ ...chat }));
}
