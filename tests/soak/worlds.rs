//! What is made and destroyed: manifests with names for everything.

/// A manifest, and whether its steps log in to droplets.
pub struct World {
    pub project: &'static str,
    pub logs_in: bool,
    pub manifest: &'static str,
}

pub const WORLDS: [World; 6] = [
    World {
        project: "fleet",
        logs_in: false,
        // Several creates, one of which names ten.
        manifest: "
version: 1
project: fleet
region: nyc3
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 13 }
  big: { image: ubuntu-24-04-x64, size: s-2vcpu-4gb }
",
    },
    World {
        project: "stores",
        logs_in: false,
        manifest: "
version: 1
project: stores
region: nyc3
volumes:
  models: { size: 2GiB }
  more: { size: 1GiB, filesystem: xfs }
  scratch: { size: 1GiB, scope: environment }
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 2 }
",
    },
    World {
        project: "layers",
        logs_in: true,
        manifest: "
version: 1
project: layers
region: nyc3
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb, provision: [{ run: 'echo base >/root/base' }] }
droplets:
  box:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    run: [{ name: look, command: 'cat /root/base' }]
",
    },
    World {
        project: "shared",
        logs_in: true,
        // One after the other.
        manifest: "
version: 1
project: shared
region: nyc3
volumes: { data: { size: 1GiB } }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 2
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: write, command: 'date >>/mnt/data/log' }]
",
    },
    World {
        project: "clones",
        logs_in: true,
        manifest: "
version: 1
project: clones
region: nyc3
volumes: { data: { size: 1GiB } }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 2
    volumes: [{ volume: data, mount: /mnt/data, access: clone }]
    run: [{ name: write, command: 'date >>/mnt/data/log', artifacts: ['*.txt'] }]
",
    },
    World {
        project: "services",
        logs_in: true,
        manifest: "
version: 1
project: services
region: nyc3
volumes: { scratch: { size: 1GiB, scope: environment } }
droplets:
  server:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: scratch, mount: /mnt/scratch }]
    run: [{ name: serve, command: 'sleep 1000', background: true, ready: { command: 'true' } }]
  client:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    needs: [server]
    after_run: destroy
    run: [{ name: look, command: 'seq 1 200' }]
",
    },
];
