/** Content crosses as `{text}` or `{hex}`, so that strings and bytes stay apart. */
export function toContent({ text, hex }) {
  return text ?? new Uint8Array(Buffer.from(hex, 'hex'));
}

export function fromContent(content) {
  return typeof content === 'string' ? { text: content } : { hex: Buffer.from(content).toString('hex') };
}
