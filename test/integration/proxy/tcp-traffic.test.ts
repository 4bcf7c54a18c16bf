import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { createWorkloadBook } from '../../../src/agent/registry/workload-book.ts';
import { alsoTelling } from '../../../src/agent/traffic-book.ts';
import { systemClock } from '../../../src/clock.ts';
import type { NamedWorkload } from '../../../src/control-api.ts';
import type { TcpTraffic } from '../../../src/metrics/tcp/traffic.ts';
import { createTcpTraffic, tcpTrafficLimits } from '../../../src/metrics/tcp/traffic.ts';
import { createAccounts } from '../../../src/proxy/account.ts';
import { createRefusalLines } from '../../../src/proxy/refusal-lines.ts';
import { captureLog } from '../../support/captured-log.ts';
import type { Application, LoopbackMesh } from '../../support/loopback-mesh.ts';
import { startApplication, startLoopbackMesh } from '../../support/loopback-mesh.ts';
import { sidecarMetrics } from '../../support/metrics.ts';
import { namedWorkload } from '../../support/named-workloads.ts';

/*
 * Goal: both sidecars of a connection say the same of who talked to whom.
 * Method: two real data planes with real metrics; a control plane that answers when the test lets it.
 */
let application: Application;
let mesh: LoopbackMesh;
const books: { close(): Promise<void> }[] = [];
afterEach(async () => {
  mesh.stop();
  application.close();
  for (const book of books.splice(0)) await book.close();
});

const web = namedWorkload('web', { namespace: 'shop', address: '127.0.0.1' });
const api = (port: number) =>
  namedWorkload('api', { namespace: 'shop', address: '127.0.0.1', services: [{ port, service: 'api.shop' }] });

/** The test decides when it is known, however long that takes. */
const patient = { ...tcpTrafficLimits, waitMs: 3_600_000 };

/** The metrics of one sidecar, whose control plane answers `peer` for the other one's address once it is `told`. */
function side(own: NamedWorkload, peer: NamedWorkload) {
  const { log } = captureLog();
  const told = Promise.withResolvers<readonly NamedWorkload[]>();
  const asked = Promise.withResolvers<readonly string[]>();
  const ended = Promise.withResolvers<void>();
  const workloads = createWorkloadBook({
    clock: systemClock,
    log,
    client: {
      workloads(ips) {
        asked.resolve(ips);
        return told.promise;
      },
    },
  });
  const ownWorkload = () => ({ kind: 'known', workload: own }) as const;
  const tcp: TcpTraffic = createTcpTraffic({ clock: systemClock, workloads, ownWorkload, names: {} }, patient);
  workloads.subscribe(tcp.answered);
  books.push(workloads);
  const metrics = sidecarMetrics({ tcpSeries: tcp.series });
  const telling = alsoTelling(metrics, tcp);
  const observer: typeof telling = {
    ...telling,
    connectionClosed(connection, reason) {
      telling.connectionClosed(connection, reason);
      ended.resolve();
    },
  };
  const refusals = createRefusalLines({ counter: metrics, log, clock: systemClock });
  const accounts = createAccounts({ observer, refusals, log, clock: systemClock });
  const samples = async () =>
    [...(await metrics.text('prometheus')).matchAll(/^istio_tcp_(\w+)\{reporter="(\w+)",(.*)\} (\d+)$/gm)].map(
      ([, name, reporter, labels, value]) => ({ name, reporter, labels, value: Number(value) }),
    );
  return {
    parts: { accounts, observer },
    tell: () => told.resolve([peer]),
    asked: asked.promise,
    ended: ended.promise,
    samples,
  };
}

it('names both ends the same on both sides, with the bytes of each way, once the registry has answered', async () => {
  application = await startApplication((socket: Socket) => {
    socket.on('data', () => socket.write('hello'));
    socket.on('end', () => socket.end());
  });
  const [webSide, apiSide] = [side(web, api(application.port)), side(api(application.port), web)];
  mesh = await startLoopbackMesh(application.port, { web: { parts: webSide.parts }, api: { parts: apiSide.parts } });
  const client = mesh.dial();
  client.write('abc');
  await once(client, 'data');
  client.end();
  await Promise.all([webSide.ended, apiSide.ended]);
  expect([await webSide.asked, await apiSide.asked]).toEqual([['127.0.0.1'], ['127.0.0.1']]);
  expect([await webSide.samples(), await apiSide.samples()]).toEqual([[], []]);
  for (const { tell } of [webSide, apiSide]) tell();
  await expect.poll(webSide.samples, { timeout: 30_000 }).toHaveLength(4);
  await expect.poll(apiSide.samples, { timeout: 30_000 }).toHaveLength(4);
  const [ofWeb, ofApi] = [await webSide.samples(), await apiSide.samples()];
  expect(ofApi.map((sample) => ({ ...sample, reporter: 'source' }))).toEqual(ofWeb);
  expect(Object.fromEntries(ofWeb.map(({ name, value }) => [name, value]))).toEqual({
    connections_opened_total: 1,
    connections_closed_total: 1,
    received_bytes_total: 3,
    sent_bytes_total: 5,
  });
  expect(ofApi[0]).toMatchObject({ reporter: 'destination' });
  for (const part of [
    'source_workload="web-deployment"',
    'source_principal="spiffe://cluster.local/ns/shop/sa/web"',
    'destination_workload="api-deployment"',
    'destination_principal="spiffe://cluster.local/ns/shop/sa/api"',
    'destination_service="api.shop.svc.cluster.local"',
    'connection_security_policy="mutual_tls"',
  ])
    expect(ofApi[0]?.labels).toContain(part);
});
