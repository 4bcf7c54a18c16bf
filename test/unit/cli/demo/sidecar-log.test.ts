import { describe, expect, it } from 'vitest';
import { refusalPictures } from '../../../../src/cli/demo/look.ts';
import { createSidecarLog } from '../../../../src/cli/demo/sidecar-log.ts';

const web = 'spiffe://cluster.local/ns/demo/sa/web';
const api = 'spiffe://cluster.local/ns/demo/sa/api';
const carried = {
  level: 'info',
  msg: 'Connection closed',
  direction: 'outbound',
  outcome: 'closed',
  reason: 'eof',
  peerAddress: '10.77.0.11:40112',
  originalDestination: '10.96.0.10:80',
  service: 'api.demo',
  security: 'mutual_tls',
  localId: web,
  peerId: api,
};
const refused = { direction: 'inbound', outcome: 'handshake', reason: 'alpn', peerAddress: '10.77.0.13:40113' };

it('counts the connections that a changed policy has cut', () => {
  const cut = { ...carried, direction: 'inbound', reason: 'policy_change' };
  expect(seeing([carried, cut, cut, refused]).policyClosed()).toBe(2);
});

function seeing(lines: readonly unknown[]) {
  const log = createSidecarLog();
  for (const line of lines) log.see('api', typeof line === 'string' ? line : JSON.stringify(line));
  return log;
}

describe('the log lines of the sidecars', () => {
  it('say who talks to whom, one row for each destination', () => {
    const log = seeing([carried, carried, { ...carried, originalDestination: '[fd96::10]:80' }]);
    const edge = { from: web, to: api, service: 'api.demo', security: 'mutual_tls' };
    expect(log.edges()).toEqual([
      { ...edge, destination: '10.96.0.10:80', connections: 2 },
      { ...edge, destination: '[fd96::10]:80', connections: 1 },
    ]);
    expect(log.refusals()).toEqual([]);
  });

  it('count a connection at its outbound end alone', () => {
    expect(seeing([{ ...carried, direction: 'inbound' }]).edges()).toEqual([]);
  });

  it('say who was refused and why, and not that it talked to anybody', () => {
    const log = seeing([refused, refused, { ...refused, outcome: 'denied', reason: 'reserved_port' }]);
    const row = { sidecar: 'api', peerIp: '10.77.0.13' };
    expect(log.refusals()).toEqual([
      { ...row, reason: 'alpn', count: 2 },
      { ...row, reason: 'reserved_port', count: 1 },
    ]);
    expect(log.edges()).toEqual([]);
  });

  it('are added up over the addresses of one pod', () => {
    const rows = seeing([
      refused,
      { ...refused, peerAddress: '[fd77::13]:40113' },
      { ...refused, peerAddress: '10.0.0.9:1' },
    ]);
    const nameOf = (ip: string) => (ip === '10.0.0.9' ? ip : 'legacy');
    expect(refusalPictures(rows.refusals(), nameOf)).toEqual([
      { sidecar: 'api', peer: 'legacy', reason: 'alpn', count: 2 },
      { sidecar: 'api', peer: '10.0.0.9', reason: 'alpn', count: 1 },
    ]);
  });

  it('say who each sidecar is', () => {
    const log = seeing([{ msg: 'Identity renewed', spiffeId: api, generation: 1 }]);
    expect([log.identityOf('api'), log.identityOf('web')]).toEqual([api, undefined]);
  });

  it('are passed over when they are about something else, or no JSON at all', () => {
    const log = seeing(['', 'plain text', '{', { msg: 'Certificate renewed' }, '[]', 'null']);
    expect([...log.edges(), ...log.refusals()]).toEqual([]);
  });

  it('do not fill the memory when each peer is another one', () => {
    const lines = Array.from({ length: 1000 }, (_, n) => ({ ...refused, peerAddress: `10.0.${n >> 8}.${n & 255}:1` }));
    expect(seeing(lines).refusals().length).toBe(200);
  });
});
