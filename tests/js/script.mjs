/** How tests/support/javascript.py and a script talk: a JSON document in, and out as the last line that is printed. */
import { text } from 'node:stream/consumers';

export { fromContent, toContent } from './content.mjs';
export const given = JSON.parse(await text(process.stdin));

export function answer(document) {
  console.log(JSON.stringify(document));
}
