import { describe, expect, it } from 'vitest';
import type { PodParts } from '../../support/registry-yaml.ts';
import {
  answer,
  clear,
  discover,
  hbone,
  meshed,
  ofWeb,
  plain,
  pod,
  service,
  slice,
} from '../../support/registry-yaml.ts';

describe('the address of a Service', () => {
  it('leads to the endpoints of its slices, each with the identity of its pod', () => {
    const ask = discover(
      pod({ name: 'a', ip: '10.0.0.1', ...meshed }),
      pod({ name: 'b', ip: '10.0.0.2' }),
      plain(),
      slice(
        'IPv4',
        '[{addresses: [10.0.0.1], targetRef: {kind: Pod, name: a}, zone: z1}, {addresses: [10.0.0.2], targetRef: {kind: Pod, name: b}}]',
      ),
    );
    expect(ask('10.96.0.1:80')).toEqual(
      answer('10.96.0.1:80', [hbone('10.0.0.1:8080', 'a-account', { zone: 'z1' }), clear('10.0.0.2:8080')], ofWeb),
    );
  });

  it.each([
    ['', true, false],
    ['ready: true, serving: true, terminating: false', true, false],
    ['ready: false, serving: false', false, false],
    ['ready: false, serving: true, terminating: true', true, true],
    ['ready: false, serving: false, terminating: true', false, true],
    ['ready: false, terminating: true', true, true],
    // As they are where addresses are published that are not ready.
    ['ready: true, serving: false, terminating: true', true, false],
  ])('reads the conditions {%s}', (conditions, ready, terminating) => {
    const ask = discover(plain(), slice('IPv4', `[{addresses: [10.0.0.9], conditions: {${conditions}}}]`));
    expect(ask('10.96.0.1:80').endpoints).toEqual([clear('10.0.0.9:8080', { ready, terminating })]);
  });

  it('is matched by family, in any way of writing IPv6', () => {
    const ask = discover(
      service('{clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, "fd00:0:0::1"], ports: [{name: web, port: 80}]}'),
      slice('IPv4', '[{addresses: [10.0.0.1]}]'),
      slice('IPv6', '[{addresses: ["FD00:1:0:0::7"]}]'),
      slice('FQDN', '[{addresses: [db.example.com]}]'),
    );
    expect(ask('10.96.0.1:80').endpoints).toEqual([clear('10.0.0.1:8080')]);
    expect(ask('[fd00::0:1]:80').endpoints).toEqual([clear('[fd00:1::7]:8080')]);
    expect(ask('[::ffff:10.96.0.1]:80').endpoints).toEqual([clear('10.0.0.1:8080')]);
  });

  it('takes the port of the slice that has the name of the port of the Service, TCP only', () => {
    const ask = discover(
      service(
        '{clusterIP: 10.96.0.1, ports: [{name: dns, port: 53, protocol: UDP}, {name: tcp-dns, port: 53}, {name: web, port: 80}]}',
      ),
      slice(
        'IPv4',
        '[{addresses: [10.0.0.1]}]',
        '[{name: dns, port: 5353, protocol: UDP}, {name: tcp-dns, port: 5354}, {name: web, port: 8080}]',
      ),
    );
    expect(ask('10.96.0.1:53').endpoints).toEqual([clear('10.0.0.1:5354')]);
    expect(ask('10.96.0.1:80').endpoints).toEqual([clear('10.0.0.1:8080')]);
  });

  it('takes the TCP port of the slice when UDP has the same name', () => {
    const ports = '[{name: web, port: 5353, protocol: UDP}, {name: web, port: 8080}]';
    const ask = discover(plain(), slice('IPv4', '[{addresses: [10.0.0.1]}]', ports));
    expect(ask('10.96.0.1:80').endpoints).toEqual([clear('10.0.0.1:8080')]);
  });

  it('takes the port of each slice for its own endpoints, as a named port of pods that differ', () => {
    const older = slice('IPv4', '[{addresses: [10.0.0.1]}]', '[{name: web, port: 8080}]');
    const newer = slice('IPv4', '[{addresses: [10.0.0.2]}]', '[{name: web, port: 9090}]');
    const ask = discover(plain(), older, newer);
    expect(ask('10.96.0.1:80').endpoints).toEqual([clear('10.0.0.1:8080'), clear('10.0.0.2:9090')]);
  });

  it('names an endpoint once that moves from slice to slice, and all in the order of their addresses', () => {
    const ask = discover(
      plain(),
      slice('IPv4', '[{addresses: [10.0.0.2]}, {addresses: [10.0.0.3]}]'),
      slice('IPv4', '[{addresses: [10.0.0.1]}, {addresses: [10.0.0.2], conditions: {ready: false}}]'),
    );
    expect(ask('10.96.0.1:80').endpoints).toEqual([
      clear('10.0.0.1:8080'),
      clear('10.0.0.2:8080'),
      clear('10.0.0.3:8080'),
    ]);
  });

  it('leads to endpoints that are no pods, of a Service without a selector, in plaintext', () => {
    const ask = discover(
      service('{clusterIP: 10.96.0.1, ports: [{name: web, port: 80}]}'),
      slice('IPv4', '[{addresses: [192.0.2.7]}, {addresses: [192.0.2.8], targetRef: {kind: Node, name: n1}}]'),
    );
    expect(ask('10.96.0.1:80').endpoints).toEqual([clear('192.0.2.7:8080'), clear('192.0.2.8:8080')]);
    // Its addresses themselves are nobody's: whoever dials them goes past the Service.
    expect(ask('192.0.2.7:8080').known).toBe(false);
  });

  it('is reached in clear when the pod is on the network of its node, whatever its containers are called', () => {
    const onNode = pod({ name: 'a', ip: '192.168.0.1', spec: 'hostNetwork: true, initContainers: [{name: remora}]' });
    const ask = discover(
      onNode,
      plain(),
      slice('IPv4', '[{addresses: [192.168.0.1], targetRef: {kind: Pod, name: a}}]'),
    );
    expect(ask('10.96.0.1:80').endpoints).toEqual([clear('192.168.0.1:8080')]);
  });

  it('is known without endpoints: no slice endpoint, no such port, no port in the slice, no selector', () => {
    expect(discover(plain(), slice('IPv4', '[]'))('10.96.0.1:80')).toEqual(answer('10.96.0.1:80', [], ofWeb));
    expect(discover(plain())('10.96.0.1:81')).toEqual(answer('10.96.0.1:81', [], ofWeb));
    expect(
      discover(plain(), slice('IPv4', '[{addresses: [10.0.0.1]}]', '[{name: other, port: 1}]'))('10.96.0.1:80')
        .endpoints,
    ).toEqual([]);
    expect(discover(service('{clusterIP: 10.96.0.1, ports: [{port: 80}]}'))('10.96.0.1:80')).toMatchObject({
      known: true,
      endpoints: [],
    });
  });

  it('never declares a pod plaintext that the registry does not hold yet', () => {
    const ask = discover(plain(), slice('IPv4', '[{addresses: [10.0.0.1], targetRef: {kind: Pod, name: late}}]'));
    expect(ask('10.96.0.1:80')).toMatchObject({ known: true, endpoints: [] });
  });

  it('finds the pod by its address when the endpoint does not refer to it', () => {
    const ask = discover(
      pod({ name: 'a', ip: '10.0.0.1', ...meshed }),
      plain(),
      slice('IPv4', '[{addresses: [10.0.0.1]}]'),
    );
    expect(ask('10.96.0.1:80').endpoints).toEqual([hbone('10.0.0.1:8080', 'a-account')]);
  });

  it('takes the identity of a pod of another namespace from that namespace', () => {
    const ask = discover(
      pod({ name: 'a', ip: '10.0.0.1', namespace: 'other', ...meshed }),
      plain(),
      slice('IPv4', '[{addresses: [10.0.0.1], targetRef: {kind: Pod, name: a, namespace: other}}]'),
    );
    expect(ask('10.96.0.1:80').endpoints).toMatchObject([{ spiffeId: 'spiffe://cluster.local/ns/other/sa/a-account' }]);
  });
});

describe('the address of a Service without slices', () => {
  it('leads to the pods that its selector matches', () => {
    const ask = discover(
      pod({ name: 'a', ip: '10.0.0.1', labels: 'app: web, tier: front', ...meshed }),
      pod({ name: 'b', ip: '10.0.0.2' }),
      pod({ name: 'c', ip: '10.0.0.3', labels: 'app: api' }),
      pod({ name: 'd', ip: '10.0.0.4', namespace: 'other' }),
      pod({ name: 'e', ip: '10.0.0.5', status: 'phase: Succeeded' }),
      pod({ name: 'f', ip: '10.0.0.6', status: 'phase: Failed' }),
      plain(),
    );
    expect(ask('10.96.0.1:80')).toEqual(
      answer('10.96.0.1:80', [hbone('10.0.0.1:8080', 'a-account'), clear('10.0.0.2:8080')], ofWeb),
    );
  });

  it.each([
    ['', '10.0.0.1:80'],
    ['targetPort: 9090', '10.0.0.1:9090'],
    ['targetPort: http', '10.0.0.1:8080'],
    ['targetPort: "9090"', '10.0.0.1:9090'],
    ['targetPort: unheard-of', undefined],
  ])('goes to the port {%s}', (targetPort, address) => {
    const ask = discover(
      pod({ name: 'a', ip: '10.0.0.1' }),
      service(`{clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, ${targetPort}}]}`),
    );
    expect(ask('10.96.0.1:80').endpoints.map((endpoint) => endpoint.address)).toEqual(
      address === undefined ? [] : [address],
    );
  });

  it.each([
    [{ status: 'conditions: [{type: Ready, status: "True"}]' }, true, false],
    [{ status: 'conditions: [{type: Ready, status: "False"}]' }, false, false],
    [{ metadata: 'deletionTimestamp: "2030-01-01T00:00:00Z"' }, true, true],
  ])('knows whether a pod is ready and terminating: %j', (parts, ready, terminating) => {
    const ask = discover(pod({ name: 'a', ip: '10.0.0.1', ...parts }), plain());
    expect(ask('10.96.0.1:80').endpoints).toEqual([clear('10.0.0.1:8080', { ready, terminating })]);
  });

  it('takes pods that are not ready when the Service publishes them', () => {
    const notReady = { status: 'conditions: [{type: Ready, status: "False"}]' };
    const ask = discover(pod({ name: 'a', ip: '10.0.0.1', ...notReady }), plain('publishNotReadyAddresses: true'));
    expect(ask('10.96.0.1:80').endpoints).toMatchObject([{ ready: true }]);
  });

  it('prefers none of its pods when it publishes them, not even those that stay', () => {
    const going = pod({ name: 'a', ip: '10.0.0.1', metadata: 'deletionTimestamp: "2030-01-01T00:00:00Z"' });
    const ask = discover(going, pod({ name: 'b', ip: '10.0.0.2' }), plain('publishNotReadyAddresses: true'));
    expect(ask('10.96.0.1:80').endpoints).toEqual([clear('10.0.0.1:8080'), clear('10.0.0.2:8080')]);
  });

  it("takes the pod's address of the right family", () => {
    const ask = discover(
      pod({ name: 'a', ip: '10.0.0.1', status: 'podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]' }),
      pod({ name: 'b', ip: '10.0.0.2' }),
      service('{clusterIPs: ["fd00:96::1"], selector: {app: web}, ports: [{port: 80}]}'),
    );
    expect(ask('[fd00:96::1]:80').endpoints).toEqual([clear('[fd00::1]:80')]);
  });

  it('matches nothing with an empty selector, and has no address when it is headless', () => {
    const pods = pod({ name: 'a', ip: '10.0.0.1' });
    expect(
      discover(pods, service('{clusterIP: 10.96.0.1, selector: {}, ports: [{port: 80}]}'))('10.96.0.1:80').endpoints,
    ).toEqual([]);
    expect(
      discover(pods, service('{clusterIP: None, clusterIPs: [None], ports: [{port: 80}]}'))('10.0.0.1:80'),
    ).not.toHaveProperty('service');
  });
});

describe('the session affinity of a Service', () => {
  it.each([
    ['', undefined],
    ['sessionAffinity: None', undefined],
    ['sessionAffinity: ClientIP', 10_800],
    ['sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: null}}', 10_800],
    ['sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}', 60],
    ['sessionAffinity: None, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}', undefined],
  ])('{%s} is told with its addresses: %s', (affinity, seconds) => {
    const ask = discover(pod({ name: 'a', ip: '10.0.0.1' }), plain(`externalIPs: [192.0.2.1], ${affinity}`));
    expect(ask('10.96.0.1:80').affinitySeconds).toBe(seconds);
    expect(ask('192.0.2.1:80').affinitySeconds).toBe(seconds);
    expect(ask('10.0.0.1:80').affinitySeconds).toBeUndefined();
  });

  it.each(['0', '86401', '1.5', '"60"'])('of %s seconds is none that an API server would take', (seconds) => {
    const affinity = `sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: ${seconds}}}`;
    expect(() => discover(plain(affinity))).toThrow(/timeoutSeconds .* (1 to 86400|expected number)/);
  });
});

describe('the address of a pod', () => {
  it('leads to that pod on any port, ready or not', () => {
    const ask = discover(
      pod({
        name: 'a',
        ip: '10.0.0.1',
        ...meshed,
        status: 'podIPs: [{ip: "fd00::1"}], conditions: [{type: Ready, status: "False"}]',
      }),
    );
    expect(ask('10.0.0.1:1')).toEqual(answer('10.0.0.1:1', [hbone('10.0.0.1:1', 'a-account')]));
    expect(ask('[fd00:0::1]:65535').endpoints).toEqual([hbone('[fd00::1]:65535', 'a-account')]);
  });

  it.each([
    ['label', { labels: 'networking.istio.io/tunnel: http' }, 'hbone'],
    ['container', { containers: '[{name: app}, {name: remora}]' }, 'hbone'],
    ['native sidecar', meshed, 'hbone'],
    ['other value of the label', { labels: 'networking.istio.io/tunnel: none' }, 'plaintext'],
    ['other containers', {}, 'plaintext'],
    ['label of a sidecar without a tunnel', { labels: 'security.istio.io/tlsMode: istio' }, 'direct'],
    ['label and its container', { labels: 'security.istio.io/tlsMode: istio', ...meshed }, 'hbone'],
    ['two labels', { labels: 'security.istio.io/tlsMode: istio, networking.istio.io/tunnel: http' }, 'hbone'],
    ['other value of that label', { labels: 'security.istio.io/tlsMode: disabled' }, 'plaintext'],
  ])('tells from its %s whether it has a sidecar', (_, parts: Partial<PodParts>, transport) => {
    const ask = discover(pod({ name: 'a', ip: '10.0.0.1', ...parts }));
    expect(ask('10.0.0.1:80').endpoints[0]?.transport).toBe(transport);
  });

  it.each<[string, Partial<PodParts>]>([
    ['tunnel', meshed],
    ['label', { labels: 'app: web, security.istio.io/tlsMode: istio' }],
  ])('is told in plaintext where its port is DISABLE, whatever its %s, and with an identity elsewhere', (_, parts) => {
    const disabled = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, portLevelMtls: {8080: {mode: DISABLE}}}`;
    const ask = discover(
      disabled,
      pod({ name: 'a', ip: '10.0.0.1', ...parts }),
      plain(),
      pod({ name: 'b', ip: '10.0.0.2', ...meshed, labels: 'app: b' }),
    );
    expect(ask('10.0.0.1:8080').endpoints).toEqual([clear('10.0.0.1:8080')]);
    expect(ask('10.0.0.1:8081').endpoints[0]?.spiffeId).toMatch(/a-account$/);
    expect(ask('10.0.0.2:8080').endpoints).toEqual([hbone('10.0.0.2:8080', 'b-account')]);
    expect(ask('10.96.0.1:80').endpoints).toEqual([clear('10.0.0.1:8080')]);
  });

  it("reaches the sidecar's own metrics and health in clear, as they are served", () => {
    const ask = discover(pod({ name: 'a', ip: '10.0.0.1', ...meshed }));
    expect(ask('10.0.0.1:15020').endpoints).toEqual([clear('10.0.0.1:15020')]);
    expect(ask('10.0.0.1:15021').endpoints).toEqual([clear('10.0.0.1:15021')]);
  });

  it('is not known when the pod is on the network of its node, or has ended', () => {
    const ask = discover(
      pod({ name: 'a', ip: '192.168.0.1', spec: 'hostNetwork: true' }),
      pod({ name: 'b', ip: '10.0.0.2', status: 'phase: Succeeded' }),
    );
    expect(ask('192.168.0.1:80').known).toBe(false);
    expect(ask('10.0.0.2:80').known).toBe(false);
  });

  it('belongs to the newer pod while the older one is still going', () => {
    const old = pod({
      name: 'old',
      ip: '10.0.0.1',
      ...meshed,
      metadata: 'creationTimestamp: "2030-01-02T00:00:00Z", deletionTimestamp: "2030-01-03T00:00:00Z"',
    });
    const young = pod({
      name: 'young',
      ip: '10.0.0.1',
      ...meshed,
      metadata: 'creationTimestamp: "2030-01-01T00:00:00Z"',
    });
    for (const documents of [
      [old, young],
      [young, old],
    ]) {
      expect(discover(...documents)('10.0.0.1:80').endpoints).toEqual([hbone('10.0.0.1:80', 'young-account')]);
    }
  });
});

it.each([
  '10.9.9.9:80',
  'web.shop:80',
  '10.0.0.1',
  '10.0.0.1:0',
  '10.0.0.1:99999',
  '[fe80::1%eth0]:80',
  '',
  'x'.repeat(64),
])('N15: says of %j that it does not know it', (address) => {
  expect(discover(pod({ name: 'a', ip: '10.0.0.1' }))(address)).toEqual({
    address,
    ttlSeconds: 300,
    known: false,
    endpoints: [],
  });
});
