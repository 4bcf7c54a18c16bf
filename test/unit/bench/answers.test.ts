import { describe, expect, it } from 'vitest';
import { answerReader } from '../../../bench/load/answers.ts';

/** What a reader of answers of `bodyBytes` has counted after these chunks. */
function counted(bodyBytes: number, chunks: readonly Buffer[]) {
  let [bytes, answers] = [0, 0];
  const read = answerReader(bodyBytes, {
    onBody: (length) => {
      bytes += length;
    },
    onAnswer: () => {
      answers++;
    },
  });
  for (const chunk of chunks) read(chunk);
  return { bytes, answers };
}

const answer = (bodyBytes: number, status = 200) =>
  Buffer.concat([
    Buffer.from(`HTTP/1.1 ${status} OK\r\nServer: nginx\r\nContent-Length: ${bodyBytes}\r\nConnection: close\r\n\r\n`),
    Buffer.alloc(bodyBytes, 'x'),
  ]);

describe('the reader of answers of the benchmark', () => {
  it('counts the same wherever an answer is cut', () => {
    const whole = answer(300);
    for (let cut = 1; cut < whole.length; cut++) {
      const chunks = [whole.subarray(0, cut), whole.subarray(cut), whole];
      expect(counted(300, chunks), `cut at ${cut}`).toEqual({ bytes: 600, answers: 2 });
    }
  });

  it('counts bodies that are larger than what it looks for a head in', () => {
    expect(counted(100_000, [answer(100_000), answer(100_000)])).toEqual({ bytes: 200_000, answers: 2 });
  });

  it('refuses another status, another length, and bytes beyond it', () => {
    expect(() => counted(300, [answer(300, 502)])).toThrow('HTTP/1.1 502');
    expect(() => counted(300, [answer(299)])).toThrow('Content-Length: 299');
    expect(() => counted(300, [Buffer.concat([answer(300), Buffer.from('more')])])).toThrow('4 bytes more');
  });
});
