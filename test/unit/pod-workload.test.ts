import { describe, expect, it } from 'vitest';
import { workloadOf } from '../../src/pod-workload.ts';

const pod = (metadata: object) => ({ metadata, spec: {} });
const ownedBy = (kind: string, name: string, labels: object = {}, more: object = {}) =>
  pod({ generateName: `${name}-`, labels, ownerReferences: [{ kind, name, controller: true, ...more }] });
const hashed = { 'pod-template-hash': '6d4cf56db6' };

describe('The workload of a pod', () => {
  it.each<[string, object, string, boolean]>([
    ['the Deployment of its ReplicaSet', ownedBy('ReplicaSet', 'web-6d4cf56db6', hashed), 'web', false],
    ['a ReplicaSet of nobody', ownedBy('ReplicaSet', 'web-6d4cf56db6'), 'web-6d4cf56db6', false],
    ['a ReplicaSet of another hash', ownedBy('ReplicaSet', 'web-1', hashed), 'web-1', false],
    ['the CronJob of its Job', ownedBy('Job', 'report-29537775'), 'report', true],
    ['a Job of nobody', ownedBy('Job', 'migrate-7'), 'migrate-7', true],
    ['a Job whose name is a number', ownedBy('Job', '-29537775'), '-29537775', true],
    ['a StatefulSet', ownedBy('StatefulSet', 'db'), 'db', false],
    ['a DaemonSet', ownedBy('DaemonSet', 'node-agent'), 'node-agent', false],
    ['a controller of another kind', ownedBy('Workflow', 'etl'), 'etl', false],
    [
      'itself, when the node runs it',
      pod({ name: 'etcd-node-1', ...ownedBy('Node', 'node-1').metadata }),
      'etcd-node-1',
      false,
    ],
    [
      'itself, when its owner does not control it',
      pod({ ...ownedBy('Backup', 'nightly', {}, { controller: false }).metadata, name: 'db-0' }),
      'db-0',
      false,
    ],
    ['itself', pod({ name: 'debug-' }), 'debug-', false],
    ['the beginning of a name that is not made yet', pod({ name: '', generateName: 'load-test-' }), 'load-test', false],
  ])('is %s', (_, value, name, isJob) => {
    expect(workloadOf(value)).toEqual({ name, isJob });
  });

  it.each([null, 7, {}, { metadata: null }, { metadata: [] }, pod({}), pod({ name: {}, ownerReferences: 'x' })])(
    'has no name when there is none: %j',
    (value) => {
      expect(workloadOf(value)).toEqual({ name: '', isJob: false });
    },
  );

  it('has the name of the pod when its labels or owners are none', () => {
    expect(workloadOf(pod({ name: 'a', labels: [], ownerReferences: [{ kind: 7 }] }))).toMatchObject({ name: 'a' });
    expect(workloadOf(ownedBy('ReplicaSet', 'web-x', { 'pod-template-hash': 7 }))).toMatchObject({ name: 'web-x' });
  });

  it('is never longer than a name can be', () => {
    expect(workloadOf(pod({ name: 'a'.repeat(1000) })).name).toHaveLength(253);
    expect(workloadOf(ownedBy('StatefulSet', 'a'.repeat(1000))).name).toHaveLength(253);
  });
});
