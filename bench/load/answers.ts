export interface AnswerListener {
  /** Bytes of a body, as they come. */
  onBody(bytes: number): void;
  /** The whole answer is here. */
  onAnswer(): void;
}

const endOfHead = '\r\n\r\n';

/**
 * Reads HTTP/1.1 answers that come one at a time on a connection: 200, and exactly `bodyBytes`. Whatever differs throws,
 * so that no contender is quick by doing something else.
 */
export function answerReader(bodyBytes: number, listener: AnswerListener): (chunk: Buffer) => void {
  let head = '';
  let missing: number | undefined;
  return (chunk) => {
    let body = chunk.length;
    if (missing === undefined) {
      head += chunk.toString('latin1', 0, 4096);
      const end = head.indexOf(endOfHead);
      if (end === -1) return;
      const headInEarlierChunks = head.length - Math.min(chunk.length, 4096);
      body = chunk.length - (end + endOfHead.length - headInEarlierChunks);
      checkHead(head.slice(0, end), bodyBytes);
      missing = bodyBytes;
    }
    missing -= body;
    if (missing < 0) throw new Error(`The answer has ${-missing} bytes more than the ${bodyBytes} that were expected`);
    listener.onBody(body);
    if (missing > 0) return;
    head = '';
    missing = undefined;
    listener.onAnswer();
  };
}

function checkHead(head: string, bodyBytes: number): void {
  const isAsExpected = head.startsWith('HTTP/1.1 200 ') && head.includes(`\r\nContent-Length: ${bodyBytes}\r\n`);
  if (!isAsExpected) throw new Error(`An answer with 200 and ${bodyBytes} bytes was expected, not:\n${head}`);
}
