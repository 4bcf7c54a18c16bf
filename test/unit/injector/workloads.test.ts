import { describe, expect, it } from 'vitest';
import { podsIn } from '../../../src/injector/workloads.ts';

const spec = { containers: [{ name: 'a' }] };
const object = (apiVersion: string, kind: string, members: object = { spec: { template: { spec } } }) => ({
  apiVersion,
  kind,
  metadata: { name: 'web', namespace: 'shop' },
  ...members,
});
const cronJob = { spec: { jobTemplate: { spec: { template: { spec } } } } };
const paths = (value: unknown) => podsIn(value, 'default').map(({ path }) => path);

describe('the pods of an object', () => {
  it.each([
    ['v1', 'Pod', { spec }, '', false],
    ['v1', 'ReplicationController', undefined, '/spec/template', false],
    ['apps/v1', 'Deployment', undefined, '/spec/template', false],
    ['apps/v1beta2', 'StatefulSet', undefined, '/spec/template', false],
    ['apps/v1', 'DaemonSet', undefined, '/spec/template', false],
    ['apps/v1', 'ReplicaSet', undefined, '/spec/template', false],
    ['batch/v1', 'Job', undefined, '/spec/template', true],
    ['batch/v1beta1', 'CronJob', cronJob, '/spec/jobTemplate/spec/template', true],
  ])('of %s %s are found', (apiVersion, kind, members, path, isJob) => {
    expect(podsIn(object(apiVersion, kind, members), 'default')).toEqual([
      {
        path,
        pod: expect.objectContaining({ spec }),
        context: { namespace: 'shop', workloadName: 'web', isJob },
        title: `${kind} shop/web`,
        misplaced: [],
      },
    ]);
  });

  it('are found in lists, and in lists of lists', () => {
    const list = (kind: string, items: unknown[]) => ({ apiVersion: 'v1', kind, items });
    const value = list('List', [{}, null, object('v1', 'Service'), list('List', [object('apps/v1', 'Deployment')])]);
    expect(paths(value)).toEqual(['/items/3/items/0/spec/template']);
  });

  it('are found in a typed list whose items do not say what they are', () => {
    const value = { apiVersion: 'apps/v1', kind: 'DeploymentList', items: [{ spec: { template: { spec } } }] };
    expect(podsIn(value, 'default')).toEqual([
      expect.objectContaining({ path: '/items/0/spec/template', title: 'Deployment default/(without a name)' }),
    ]);
  });

  it('have the namespace of the command where their object has none', () => {
    const [placed] = podsIn({ apiVersion: 'v1', kind: 'Pod', metadata: { generateName: 'job-' }, spec }, 'other');
    expect(placed).toMatchObject({ context: { namespace: 'other', workloadName: 'job' }, title: 'Pod other/job-…' });
  });

  it('are named by the Deployment that made them, and end when a Job made them', () => {
    const owned = (owner: object, labels: object) => ({
      ...object('v1', 'Pod', { spec }),
      metadata: { name: 'p', labels, ownerReferences: [{ controller: true, ...owner }] },
    });
    const made = [
      owned({ kind: 'ReplicaSet', name: 'web-7d4b9' }, { 'pod-template-hash': '7d4b9' }),
      owned({ kind: 'Job', name: 'once' }, {}),
    ];
    expect(made.flatMap((pod) => podsIn(pod, 'default')).map(({ context }) => context)).toEqual([
      { namespace: 'default', workloadName: 'web', isJob: false },
      { namespace: 'default', workloadName: 'once', isJob: true },
    ]);
  });

  it.each([
    ['a custom resource with a pod template', object('example.com/v1', 'Rollout')],
    ['a custom resource of a name that Kubernetes has', object('example.com/v1', 'Deployment')],
    ['a list of custom resources', { apiVersion: 'example.com/v1', kind: 'PodList', items: [{ spec }] }],
    ['a Service', object('v1', 'Service')],
    ['a kind that every object inherits', object('v1', 'constructor')],
    ['an object without a version', { kind: 'Pod', spec }],
    ['a list that is no list', { apiVersion: 'v1', kind: 'List', items: {} }],
    ['a text', 'kind: Pod'],
    ['nothing', null],
  ])('%s has none', (_, value) => {
    expect(podsIn(value, 'default')).toEqual([]);
  });

  it('are still there to be refused when the template is missing', () => {
    expect(podsIn(object('apps/v1', 'Deployment', {}), 'default')).toEqual([
      expect.objectContaining({ pod: undefined }),
    ]);
  });
});
