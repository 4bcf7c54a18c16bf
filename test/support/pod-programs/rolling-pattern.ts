/** So many bytes of an endless text that never repeats itself within a chunk: each four bytes are their own place in it. */
export function patternOf(from: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32BE(from + at, at);
  return bytes;
}
