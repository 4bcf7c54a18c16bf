import { describe, expect, it } from 'vitest';
import { anybody, clear, discover, hbone, meshed, pod, service } from '../../support/registry-yaml.ts';

const web = [pod({ name: 'a', ip: '10.0.0.1', ...meshed }), pod({ name: 'b', ip: '10.0.0.2', labels: 'app: other' })];
const endpoints = [hbone('10.0.0.1:8080', 'a-account')];
const common = 'clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]';
const withIngress = (ingress: string, rest = '') =>
  `${service(`{type: LoadBalancer, ${common}, ${rest}}`)}\nstatus: {loadBalancer: {ingress: [${ingress}]}}`;

describe('an address outside of the cluster', () => {
  it.each([
    ['spec.externalIPs', service(`{${common}, externalIPs: ["192.0.2.1", "2001:DB8:0:0::1"]}`)],
    ['its load balancer', withIngress('{ip: 192.0.2.1}, {ip: "2001:db8::1", ipMode: VIP}')],
  ])('leads to the endpoints of the Service that has it by %s, of the family of the address', (_, text) => {
    const ask = discover(...web, text);
    expect(ask('192.0.2.1:80')).toMatchObject({ known: true, service: 'web.shop', endpoints });
    expect(ask('[2001:db8::1]:80')).toMatchObject({ known: true, service: 'web.shop', endpoints: [] });
  });

  it('is unknown on every port that no Service has there, and over UDP', () => {
    const udp = 'clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, protocol: UDP}]';
    expect(discover(...web, service(`{${common}, externalIPs: [192.0.2.1]}`))('192.0.2.1:81').known).toBe(false);
    expect(discover(...web, service(`{${udp}, externalIPs: [192.0.2.1]}`))('192.0.2.1:80').known).toBe(false);
  });

  it.each([
    ['its load balancer wants to be passed', withIngress('{ip: 192.0.2.1, ipMode: Proxy}')],
    ['its load balancer has a name alone', withIngress('{hostname: lb.example.com}')],
    [
      'its load balancer takes some callers only',
      withIngress('{ip: 192.0.2.1}', 'loadBalancerSourceRanges: [10.0.0.0/8]'),
    ],
    ['its Service has no cluster IP', service(`{${common.replace('10.96.0.1', 'None')}, externalIPs: [192.0.2.1]}`)],
    ['its Service is a name alone', service(`{type: ExternalName, ${common}, externalIPs: [192.0.2.1]}`)],
  ])('is unknown when %s', (_, text) => {
    expect(discover(...web, text)('192.0.2.1:80')).toMatchObject({ known: false, endpoints: [] });
  });

  it('is shared by Services on ports of their own, and stays with the older one where both want a port', () => {
    const other = (created: string, ports: string) =>
      service(
        `{clusterIP: 10.96.0.2, selector: {app: other}, ports: ${ports}, externalIPs: [192.0.2.1]}`,
        'other',
      ).replace('namespace:', `creationTimestamp: "${created}", namespace:`);
    const mine = service(`{${common}, externalIPs: [192.0.2.1]}`).replace(
      'namespace:',
      'creationTimestamp: "2030-01-02T00:00:00Z", namespace:',
    );
    const both = '[{name: a, port: 80}, {name: b, port: 81}]';
    for (const documents of [
      [mine, other('2030-01-03T00:00:00Z', both)],
      [other('2030-01-03T00:00:00Z', both), mine],
    ]) {
      const ask = discover(...web, ...documents);
      expect(ask('192.0.2.1:80').service).toBe('web.shop');
      expect(ask('192.0.2.1:81').service).toBe('other.shop');
    }
    expect(discover(...web, mine, other('2030-01-01T00:00:00Z', both))('192.0.2.1:80').service).toBe('other.shop');
  });

  it('takes no connection away from a pod or from a cluster IP', () => {
    const greedy = service(
      '{clusterIP: 10.96.0.2, selector: {app: web}, ports: [{port: 80}], externalIPs: [10.0.0.2, 10.96.0.1]}',
      'greedy',
    );
    const ask = discover(...web, greedy, service(`{${common}}`));
    expect(ask('10.0.0.2:80')).toEqual({
      address: '10.0.0.2:80',
      ttlSeconds: 300,
      known: true,
      endpoints: [clear('10.0.0.2:80')],
    });
    expect(ask('10.96.0.1:80').service).toBe('web.shop');
  });

  it('is answered whatever internalTrafficPolicy says, as it is for callers from outside', () => {
    const ask = discover(...web, service(`{${common}, externalIPs: [192.0.2.1], internalTrafficPolicy: Local}`));
    expect(ask('10.96.0.1:80', anybody).endpoints).toEqual([]);
    expect(ask('192.0.2.1:80', anybody).endpoints).toEqual(endpoints);
  });
});

it('knows no address of a Service that is a name alone', () => {
  const text = service('{type: ExternalName, externalName: db.example.com, clusterIP: 10.96.0.1, ports: [{port: 80}]}');
  expect(discover(text)('10.96.0.1:80').known).toBe(false);
});
