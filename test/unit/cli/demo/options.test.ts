import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { readOptions } from '../../../../src/cli/demo/options.ts';
import { UsageError } from '../../../../src/errors.ts';
import type { Host } from '../../../../src/host.ts';

function read(args: readonly string[], env: Host['env'] = {}) {
  let printed = '';
  const stdout = new Writable({
    write(chunk, _encoding, done) {
      printed += chunk;
      done();
    },
  });
  const parsed = readOptions({ args, env, stdout } as unknown as Host);
  return { ...parsed, printed };
}

describe('the options of remora demo', () => {
  it('are all off by default', () => {
    expect(read([])).toMatchObject({ kind: 'options', options: { once: false, json: false, loopback: false } });
  });

  it('are taken together', () => {
    expect(read(['--once', '--json', '--loopback'])).toMatchObject({
      options: { once: true, json: true, loopback: true },
    });
  });

  it('that do not exist are refused in one sentence', () => {
    expect(() => read(['--twice'])).toThrow(UsageError);
    expect(() => read(['--twice'])).toThrow(/^unknown option '--twice'[^\n]*$/);
    expect(() => read(['now'])).toThrow(UsageError);
  });

  it('refuse JSON without an end', () => {
    expect(() => read(['--json'])).toThrow('--json is given without --once');
  });

  it.each(['once', 'loopback'])('say where --%s went when npm kept it for itself', (option) => {
    const env = { npm_lifecycle_event: 'start', [`npm_config_${option}`]: 'true' };
    expect(() => read([], env)).toThrow(`expected npm start -- --${option}`);
  });

  it('are not disturbed by npm settings when npm did not start the demo', () => {
    expect(read(['--once'], { npm_config_once: 'true', npm_lifecycle_event: 'test' })).toMatchObject({
      options: { once: true },
    });
  });

  it('are explained by --help', () => {
    expect(read(['--help'])).toMatchObject({ kind: 'done', exitCode: 0, printed: expect.stringContaining('--once') });
  });
});
