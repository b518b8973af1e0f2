/**
 * Calls in one session of one user, by @stacks or by blockstack.js: what each answered, or the name of its error.
 *
 * One session, because both remember the ETags of what they read and wrote, and send them as conditions.
 */
import { answer, fromContent, given, toContent } from './script.mjs';

const { open } = await import(`./open_${given.library}.mjs`);
const { storage, lookUp } = open(given.user);

const calls = {
  putFile: ({ path, options, ...content }) => storage.putFile(path, toContent(content), options),
  getFile: async ({ path, options }) => fromContent(await storage.getFile(path, options)),
  deleteFile: ({ path, options }) => storage.deleteFile(path, options).then(() => 'deleted'),
  lookupProfile: ({ username }) => lookUp(username),
  async listFiles({ stopAfter = Infinity }) {
    const paths = [];
    const count = await storage.listFiles((path) => paths.push(path) < stopAfter);
    return { paths, count };
  },
};

const answers = [];
for (const { call, ...options } of given.calls) {
  answers.push(await calls[call](options).catch((error) => ({ error: error.name, message: error.message })));
}
answer(answers);
