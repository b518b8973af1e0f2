/** Files read by `Storage.getFile`, each with its options: the content, or the name of the error. */
import { AppUser } from './client.mjs';
import { answer, fromContent, given } from './script.mjs';

const { storage } = new AppUser(given.user);
const contents = [];
for (const { path, options } of given.files) {
  contents.push(await storage.getFile(path, options).then(fromContent, (error) => ({ error: error.name })));
}
answer(contents);
