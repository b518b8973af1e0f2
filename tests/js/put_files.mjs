/** Files written by `Storage.putFile`, each with its options; their public URLs. */
import { AppUser } from './client.mjs';
import { answer, given, toContent } from './script.mjs';

const { storage } = new AppUser(given.user);
const urls = [];
for (const file of given.files) urls.push(await storage.putFile(file.path, toContent(file), file.options));
answer(urls);
