// JSON as this protocol has it: UTF-8, one object, no duplicate members, integers only (docs/protocol.md#tokens and #requests).
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const PIECES = /"(?:[^"\\]|\\.)*"|[{}[\]:,]|-?\d[\d.eE+-]*/g

/** The object in these bytes, or an error that says what they are not. */
export function readObject(bytes) {
  let text, value
  try {
    text = utf8.decode(bytes)
    value = JSON.parse(text)
  } catch {
    throw new Error('is not JSON')
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error('is not a JSON object')
  // JSON.parse keeps the last of two equal members and takes any number, so look at the pieces as well.
  const open = [] // a set of names for each open object, null for each open array
  let last
  for (const [piece] of text.matchAll(PIECES)) {
    if (piece === '{') open.push(new Set())
    else if (piece === '[') open.push(null)
    else if (piece === '}' || piece === ']') open.pop()
    else if (piece[0] === '"') {
      last = JSON.parse(piece)
      if (!last.isWellFormed()) throw new Error('has half of a surrogate pair')
    } else if (piece === ':') {
      if (open.at(-1).has(last)) throw new Error(`has ${JSON.stringify(last)} twice`)
      open.at(-1).add(last)
    } else if (piece !== ',' && !/^-?\d+$/.test(piece)) throw new Error('has a number that is not an integer')
  }
  return value
}
