/** How tests/support/javascript.py and a script talk: a JSON document in, and out as the last line that is printed. */
import { text } from 'node:stream/consumers';

export const given = JSON.parse(await text(process.stdin));

export function answer(document) {
  console.log(JSON.stringify(document));
}

/** Content crosses as `{text}` or `{hex}`, so that strings and bytes stay apart. */
export function toContent({ text, hex }) {
  return text ?? new Uint8Array(Buffer.from(hex, 'hex'));
}

export function fromContent(content) {
  return typeof content === 'string' ? { text: content } : { hex: Buffer.from(content).toString('hex') };
}
