import { RenewalError } from '../errors.ts';

const lineFeed = 0x0a;

/**
 * The lines of a byte stream, without their ends. Throws `RenewalError`: `too_large` for a line beyond the cap, also
 * before its end has come, and `bad_json` for bytes that are not UTF-8. What follows the last line feed is dropped: it
 * was cut.
 */
export async function* linesOf(bytes: AsyncIterable<Uint8Array>, maxLineBytes: number): AsyncGenerator<string> {
  let pieces: Uint8Array[] = [];
  let length = 0;
  const add = (piece: Uint8Array) => {
    length += piece.length;
    if (length > maxLineBytes) {
      throw new RenewalError('too_large', `A line of the control plane's stream is longer than ${maxLineBytes} bytes`);
    }
    pieces.push(piece);
  };
  for await (const chunk of bytes) {
    let start = 0;
    for (let end = chunk.indexOf(lineFeed); end !== -1; end = chunk.indexOf(lineFeed, start)) {
      add(chunk.subarray(start, end));
      yield decode(Buffer.concat(pieces));
      pieces = [];
      length = 0;
      start = end + 1;
    }
    add(chunk.subarray(start));
  }
}

function decode(line: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(line);
  } catch {
    throw new RenewalError('bad_json', "A line of the control plane's stream is not UTF-8");
  }
}
