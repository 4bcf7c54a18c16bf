import { expect, it } from 'vitest';
import { watchAccounts } from '../../../src/control-plane/account-watch.ts';
import { createSidecarBook } from '../../../src/control-plane/sidecar-book.ts';
import { captureLog } from '../../support/captured-log.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createFakeStore } from '../../support/registry-source.ts';
import type { PodParts } from '../../support/registry-yaml.ts';
import { meshed, pod } from '../../support/registry-yaml.ts';

const differs = 'The registry gives a pod another service account than its token';
const agrees = 'The registry gives the pod the service account of its token again, or knows it no more';
const uri = (account: string) => `spiffe://cluster.local/ns/shop/sa/${account}`;
const named = (account: string, more: Partial<PodParts> = {}) =>
  pod({ name: account, ip: '10.0.0.1', ...meshed, ...more }).replace(
    `name: ${account}, namespace`,
    'name: api, namespace',
  );
const workload = (podUid = 'uid', name = 'api') => ({
  ...{ namespace: 'shop', serviceAccount: 'api-account', pod: name, podUid },
  expiresAtMs: Number.POSITIVE_INFINITY,
});

function setUp(...documents: string[]) {
  const [clock, captured] = [createFakeClock(), captureLog()];
  const book = createSidecarBook(clock, { trustedRoots: () => [], unknownForMs: 0 });
  const text = (pods: readonly string[]) => ['# None may be there.', ...pods].join('\n---\n');
  const store = createFakeStore(text(documents));
  const watch = watchAccounts({ clock, log: captured.log, authority: { trustDomain: 'cluster.local' }, book, store });
  const change = (...latest: string[]) => store.set(text(latest));
  const issue = (holder = workload()) => {
    book.issued(holder, 'root', clock.now() + 3_600_000);
    watch.look({ ...holder, podName: holder.pod });
  };
  return { clock, captured, change, issue, watch, messages: () => captured.lines.map(({ msg }) => msg) };
}

it('warns once of a pod that the registry gives another service account, for each change, and when that is over', () => {
  const { captured, change, issue, messages } = setUp(named('api'));
  issue();
  expect(messages()).toEqual([]);
  change(named('api-v2'));
  change(named('api-v2'));
  issue();
  expect(captured.lines).toMatchObject([
    {
      ...{ level: 'warn', msg: differs, pod: 'shop/api', issued: uri('api-account'), registry: uri('api-v2-account') },
      ...{ meaning: expect.stringContaining('refuse'), remedy: expect.stringContaining('Restart the pod') },
    },
  ]);
  change(named('api-v3'));
  change(named('api'));
  expect(messages()).toEqual([differs, differs, agrees]);
});

it('warns when a certificate is issued for a token that the registry does not agree with', () => {
  const { issue, messages } = setUp(named('api-v2'));
  issue();
  issue();
  expect(messages()).toEqual([differs]);
});

it.each([
  ['of another uid', named('api-v2', { metadata: 'uid: another' })],
  ['without a sidecar, which nobody expects to be anybody', named('api-v2', { spec: '' })],
  ['of another name', pod({ name: 'db', ip: '10.0.0.1', ...meshed })],
])('says nothing of a pod %s', (_, text) => {
  const { issue, messages } = setUp(text);
  issue();
  expect(messages()).toEqual([]);
});

it('forgets who is gone, and looks no more when it is closed', async () => {
  const { change, clock, issue, messages, watch } = setUp(named('api-v2'));
  issue();
  await clock.advance(3_600_000);
  change(named('api-v2'));
  issue();
  expect(messages()).toEqual([differs, differs]);
  watch.close();
  change(named('api'));
  expect(messages()).toHaveLength(2);
});

it('writes few lines a second, and those that had no place at the next look', async () => {
  const pods = Array.from({ length: 30 }, (_, index) => pod({ name: `p${index}`, ip: `10.0.0.${index}`, ...meshed }));
  const { change, clock, issue, messages } = setUp();
  for (let index = 0; index < pods.length; index++) issue(workload('uid', `p${index}`));
  change(...pods);
  expect(messages()).toHaveLength(20);
  await clock.advance(1_000);
  change(...pods);
  expect(messages()).toHaveLength(30);
});
