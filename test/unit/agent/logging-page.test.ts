import { describe, expect, it } from 'vitest';
import { loggingAction, loggingPageOf } from '../../../src/agent/logging-page.ts';
import { createLogging } from '../../../src/logging.ts';
import { captureLog } from '../../support/captured-log.ts';

function scene() {
  const { log, lines } = captureLog('info');
  const logging = createLogging(log, 'all');
  const post = (query: string) => loggingAction(logging, { query: new URLSearchParams(query) });
  return { log, lines, logging, post };
}

describe('the page about logging', () => {
  it('shows what is logged', () => {
    expect(loggingPageOf(scene().logging)).toEqual({ status: 200, body: { level: 'info', accessLog: 'all' } });
  });

  it('changes what is asked, says what was before, and leaves the rest', () => {
    const { log, logging, post } = scene();
    expect(post('level=debug')).toEqual({
      status: 200,
      body: {
        before: { level: 'info', accessLog: 'all' },
        after: { level: 'debug', accessLog: 'all' },
        until: 'the next start',
      },
    });
    expect(log.isLevelEnabled('debug')).toBe(true);
    expect(post('accessLog=off&level=warn')).toMatchObject({ body: { after: { level: 'warn', accessLog: 'off' } } });
    expect(logging.current()).toEqual({ level: 'warn', accessLog: 'off' });
    expect(log.isLevelEnabled('info')).toBe(false);
  });

  it('leaves a line in the log from which on lines are missing', () => {
    const { lines, post } = scene();
    post('level=silent');
    expect(lines).toMatchObject([{ after: { level: 'silent' }, msg: 'What is logged was changed' }]);
  });

  it('leaves that line whatever the level is, and was', () => {
    const { log, lines, logging, post } = scene();
    for (const query of ['level=silent', 'accessLog=off', 'level=error', 'level=silent', 'level=warn']) post(query);
    expect(lines).toMatchObject([
      { before: { level: 'info' }, after: { level: 'silent' } },
      { after: { level: 'silent', accessLog: 'off' } },
      { before: { level: 'silent' }, after: { level: 'error' } },
      { before: { level: 'error' }, after: { level: 'silent' } },
      { before: { level: 'silent' }, after: { level: 'warn' } },
    ]);
    log.info('below');
    expect(lines).toHaveLength(5);
    expect(logging.current()).toEqual({ level: 'warn', accessLog: 'off' });
  });

  it.each([
    ['', 'Nothing is to be changed'],
    ['level=loud', 'This is no level'],
    ['level=INFO', 'This is no level'],
    ['level=', 'This is no level'],
    ['accessLog=none', 'This is no accessLog'],
    ['colour=on', 'There is no such thing to change'],
    ['__proto__=off', 'There is no such thing to change'],
    ['level=debug&level=info', 'Something is to be changed twice'],
    ['level=debug&accessLog=\u001b[2J', 'This is no accessLog'],
  ])('refuses %j with what was expected, and changes nothing', (query, why) => {
    const { logging, lines, post } = scene();
    expect(post(query)).toEqual({
      status: 400,
      body: `${why}, expected level=debug|info|warn|error|silent or accessLog=all|failures|off\n`,
    });
    expect(logging.current()).toEqual({ level: 'info', accessLog: 'all' });
    expect(lines).toEqual([]);
  });
});
