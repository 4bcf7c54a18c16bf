import { describe, expect, test } from 'vitest';
import { podCommand } from '../../../../src/cli/demo/pod-command.ts';

describe('the command line of a process in a pod', () => {
  test('without privileges of its own it is root, and ends with its parent', () => {
    expect(podCommand('ns', ['nft', 'list', 'ruleset'])).toEqual([
      ...['ip', 'netns', 'exec', 'ns', 'setpriv', '--pdeathsig=KILL', '--', 'nft', 'list', 'ruleset'],
    ]);
  });

  test('with a uid it has that group, no other groups, no capability, and can gain none', () => {
    expect(podCommand('ns', ['node'], { uid: 1337 })).toEqual([
      ...['ip', 'netns', 'exec', 'ns', 'setpriv', '--pdeathsig=KILL'],
      ...['--no-new-privs', '--inh-caps=-all', '--bounding-set=-all', '--reuid=1337', '--regid=1337', '--clear-groups'],
      ...['--', 'node'],
    ]);
  });

  test('group, supplementary groups and capabilities as given', () => {
    const command = podCommand('ns', ['node'], {
      uid: 1,
      gid: 2,
      groups: [3, 4],
      capabilities: ['net_admin', 'net_raw'],
    });
    expect(command).toEqual(
      expect.arrayContaining(['--bounding-set=-all,+net_admin,+net_raw', '--reuid=1', '--regid=2', '--groups=3,4']),
    );
    expect(command).not.toContain('--clear-groups');
  });

  test('mounts come first, while it may still mount, and their paths are arguments of the shell and not its text', () => {
    const mounts = [
      { source: "/a'; rm -rf /", target: '/b c' },
      { source: '/d', target: '/e' },
    ];
    expect(podCommand('ns', ['node'], { uid: 1337, mounts }).slice(4, 12)).toEqual([
      // biome-ignore lint/suspicious/noTemplateCurlyInString: parameters of the shell
      ...['sh', '-c', 'mount --rbind "${1}" "${2}" && mount --rbind "${3}" "${4}" && shift 4 && exec "$@"', 'sh'],
      ...["/a'; rm -rf /", '/b c', '/d', '/e'],
    ]);
  });
});
