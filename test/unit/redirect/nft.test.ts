import { describe, expect, test } from 'vitest';
import { createNft, refusal } from '../../../src/redirect/nft.ts';

describe('why nft failed', () => {
  test.each([
    ['Error: Could not process rule: Operation not permitted\nadd table inet remora\n^^^', 'PermissionError', 77],
    ['Operation not permitted (you must be root)', 'PermissionError', 77],
    ['Error: cache initialization failed: Operation not permitted', 'PermissionError', 77],
    ['Error: Unable to initialize Netlink socket: Protocol not supported', 'UnavailableError', 69],
    ['/dev/stdin:1:1-10: Error: Could not process rule: No such file or directory', 'UnavailableError', 69],
    ['/dev/stdin:1:1-10: Error: Could not process rule: Operation not supported', 'UnavailableError', 69],
    ['Error: syntax error, unexpected saddr', 'FailureError', 1],
    ['', 'FailureError', 1],
  ])('%s', (stderr, name, exitCode) => {
    const error = refusal('change', stderr);
    expect(error).toMatchObject({ name, exitCode });
    expect(error.message).not.toContain('\n');
    expect(error.message).toContain(stderr.split('\n')[0]);
  });

  test('a missing nft is named with the PATH where it was looked for', async () => {
    await expect(createNft({ PATH: '/nonexistent' }).listRuleset()).rejects.toMatchObject({
      name: 'UnavailableError',
      message: "nft is not on the PATH '/nonexistent', expected the package nftables to be installed",
    });
  });
});
