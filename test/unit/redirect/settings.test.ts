import { describe, expect, test } from 'vitest';
import { wholePod } from '../../../src/annotations.ts';
import { ConfigurationError } from '../../../src/errors.ts';
import { sidecarPorts } from '../../../src/ports.ts';
import { readSettings, settingFlags, settingReader } from '../../../src/redirect/settings.ts';

const read = (flags: Record<string, string>, env: Record<string, string> = {}) =>
  readSettings(settingReader(flags, env));

function problemsOf(flags: Record<string, string>, env: Record<string, string> = {}): readonly string[] {
  try {
    read(flags, env);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

describe('settings of init', () => {
  test('nothing given: everything is captured, for uid and gid 1337, on the usual ports', () => {
    expect(read({})).toEqual({ ports: sidecarPorts, uid: 1337, gid: 1337, scope: wholePod });
  });

  test('each setting has a flag, and the same in the environment', () => {
    const values: Record<string, string> = { uid: '5', gid: '6' };
    for (const [index, { flag, placeholder }] of settingFlags.entries())
      values[flag] ??= placeholder === 'cidrs' ? '10.0.0.0/8' : String(1000 + index);
    const env = Object.fromEntries(
      Object.entries(values).map(([flag, text]) => [`REMORA_${flag.replaceAll('-', '_').toUpperCase()}`, text]),
    );
    const given = read(values);
    expect(read({}, env)).toEqual(given);
    expect(given).toMatchObject({
      uid: 5,
      gid: 6,
      scope: { includeOutboundIpRanges: ['10.0.0.0/8'], excludeOutboundIpRanges: ['10.0.0.0/8'] },
    });
    expect(new Set(Object.values(given.ports)).size).toBe(6);
    expect(Object.values(given.ports).every((port) => port >= 1000 && port < 1100)).toBe(true);
  });

  test('a flag wins over the environment', () => {
    expect(read({ uid: '5' }, { REMORA_UID: '7', REMORA_GID: '8' })).toMatchObject({ uid: 5, gid: 8 });
  });

  test('every bad value is named at once, with where it was given and what was expected', () => {
    const problems = problemsOf(
      { 'exclude-outbound-ports': '80,x', 'outbound-port': '0', uid: '0' },
      { REMORA_INCLUDE_OUTBOUND_IP_RANGES: '10.0.0.0/33', REMORA_GID: '-1' },
    );
    expect(problems).toEqual([
      "--outbound-port is '0', expected a port from 1 to 65535",
      "--uid is '0', expected a number from 1 to 4294967294; 0 would let every process of root pass",
      "REMORA_GID is '-1', expected a number from 1 to 4294967294; 0 would let every process of root pass",
      "--exclude-outbound-ports is '80,x', expected ports from 1 to 65535 or ranges such as 9000-9100, separated by commas",
      "REMORA_INCLUDE_OUTBOUND_IP_RANGES is '10.0.0.0/33', expected * or addresses or CIDR ranges such as 10.0.0.0/8 or fd00::/8, separated by commas",
    ]);
  });

  test('a port that is given twice is named', () => {
    expect(problemsOf({ 'inbound-port': '15001', 'health-port': '15008' })).toEqual([
      '--inbound-port and --outbound-port are both 15001, expected a port for each',
      '--health-port and --hbone-port are both 15008, expected a port for each',
    ]);
  });

  test('a variable that Kubernetes made for a Service is not a setting', () => {
    expect(read({}, { REMORA_OUTBOUND_PORT: 'tcp://10.0.0.7:80' })).toMatchObject({ ports: sidecarPorts });
  });

  test.each(['1', '4294967294'])('takes the id %s', (text) => {
    expect(read({ uid: text }).uid).toBe(Number(text));
  });

  test.each(['0', '4294967295', '99999999999', '01', '1e3', ' 1', '', 'root'])("refuses the id '%s'", (text) => {
    expect(problemsOf({ uid: text })).toHaveLength(1);
  });
});
