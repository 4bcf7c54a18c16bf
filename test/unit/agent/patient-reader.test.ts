import { expect, it } from 'vitest';
import { createPatientReader, patienceMs } from '../../../src/agent/patient-reader.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

function hangingDisk() {
  const clock = createFakeClock();
  const reads: string[] = [];
  const hung = Promise.withResolvers<Buffer>();
  const read = createPatientReader(clock, 10, (path, maxBytes) => {
    reads.push(`${path} ${maxBytes}`);
    return path === '/hangs' ? hung.promise : Promise.resolve(Buffer.from(path));
  });
  return { clock, reads, hung, read };
}
const messageOf = (reading: Promise<unknown>) =>
  reading.then(
    () => 'was read',
    (error: Error) => `${error.name}: ${error.message}`,
  );

it('reads what there is, and leaves no timer', async () => {
  const { clock, reads, read } = hangingDisk();
  expect(String(await read('/a'))).toBe('/a');
  expect(String(await read('/b'))).toBe('/b');
  expect(reads).toEqual(['/a 10', '/b 10']);
  expect(clock.pending).toBe(0);
});

it('gives up what hangs, begins nothing beside it, and goes on when it is over', async () => {
  const { clock, reads, hung, read } = hangingDisk();
  const first = messageOf(read('/hangs'));
  await clock.advance(patienceMs);
  expect(await first).toBe('BoundedFileError: /hangs cannot be read within 2000 ms');
  expect(await messageOf(read('/hangs'))).toBe('BoundedFileError: /hangs hangs');
  expect(await messageOf(read('/a'))).toBe('BoundedFileError: /a is not read while /hangs hangs');
  expect(reads).toEqual(['/hangs 10']);
  hung.reject(new Error('the server is gone'));
  await clock.advance(0);
  expect(await messageOf(read('/a'))).toBe('was read');
  expect(clock.pending).toBe(0);
});
