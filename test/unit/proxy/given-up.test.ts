import { expect, it } from 'vitest';
import type { ConnectionLineKind } from '../../../src/proxy/refusal-lines.ts';
import { tellGivenUp } from '../../../src/proxy/transport/hbone/given-up.ts';
import type { MutualTls } from '../../../src/proxy/transport/tls.ts';
import { captureLog } from '../../support/captured-log.ts';

const ends = { tunnelFrom: '10.0.0.5:41122', tunnelTo: '10.0.0.7:15008' };
const peerId = 'spiffe://cluster.local/ns/shop/sa/api';

it('a tunnel that is given up is told of once, within the limits of refusals, by its name, its ends and its peer', () => {
  const { log, lines } = captureLog();
  const kinds: ConnectionLineKind[] = [];
  const refusals = {
    tell(kind: ConnectionLineKind, write: () => void) {
      kinds.push(kind);
      write();
    },
    close: () => undefined,
  };
  const mutualTls = { name: '5f0c2ad91e77', ends, peer: { spiffeId: { uri: peerId } } } as unknown as MutualTls;
  const givenUp = tellGivenUp({ log, refusals }, 'inbound', mutualTls);
  givenUp('a request was not answered', 3);
  givenUp('nothing came', 4);
  expect(lines).toMatchObject([
    {
      level: 'warn',
      msg: 'Tunnel given up',
      direction: 'inbound',
      tunnel: '5f0c2ad91e77',
      ...ends,
      peerId,
      connections: 3,
      detail: 'a request was not answered',
      remedy: expect.stringContaining('NetworkPolicy'),
    },
  ]);
  expect(kinds).toEqual([{ direction: 'inbound', outcome: 'closed', reason: 'tunnel_lost' }]);
});
