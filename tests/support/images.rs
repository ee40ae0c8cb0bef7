//! The images that the tests run. Nothing can be pulled where they run, so the bases are put together from the
//! machine's own programs with the layout of the official images: one build per content, kept by Docker.

use super::docker::{Container, Network, build};
use super::proem;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A build context being put together: a root file system in `root/`, and a Dockerfile beside it.
pub struct Context {
    folder: tempfile::TempDir,
}

impl Context {
    /// An empty one.
    pub fn new() -> Context {
        let context = Context { folder: super::folder() };
        fs::create_dir_all(context.root().join("tmp")).unwrap();
        fs::set_permissions(context.root().join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        context
    }

    /// Where the image's files go.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A text file of the image.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: &str) -> Context {
        let path = super::write(&self.root(), path, content);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// A program of this machine with every library it needs, as `to`.
    #[must_use]
    pub fn program(self, from: &str, to: &str) -> Context {
        self.copy(Path::new(from), to);
        // A static program has none: ldd fails then.
        let ldd = Command::new("ldd").arg(from).output().unwrap();
        let listed = String::from_utf8_lossy(&ldd.stdout).into_owned();
        for library in listed.split_whitespace().filter(|word| ldd.status.success() && word.starts_with('/')) {
            self.copy(Path::new(library), &library[1..]);
        }
        self
    }

    /// A directory of this machine, links followed.
    #[must_use]
    pub fn directory(self, from: &str, to: &str) -> Context {
        let to = self.root().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let status = Command::new("cp").arg("-rL").arg(from).arg(to).status().unwrap();
        assert!(status.success(), "cp -rL {from}");
        self
    }

    /// busybox as `/bin/sh` and the other commands that a shell entrypoint uses.
    #[must_use]
    pub fn busybox(self) -> Context {
        self.copy(Path::new(&which("busybox")), "bin/busybox");
        for name in [
            "sh", "cat", "echo", "env", "find", "grep", "httpd", "kill", "ls", "mkdir", "nc", "nslookup", "pidof",
            "printf", "ps", "sed", "sleep", "sort", "test", "touch", "true", "wget",
        ] {
            symlink("busybox", self.root().join("bin").join(name)).unwrap();
        }
        self
    }

    fn copy(&self, from: &Path, to: &str) {
        let to = self.root().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, &to).unwrap_or_else(|error| panic!("copy {}: {error}", from.display()));
    }

    /// Builds `FROM scratch` with the files, then these instructions; the image's id.
    pub fn image(self, instructions: &str) -> String {
        self.on("scratch", instructions)
    }

    /// Builds on another image; the image's id.
    pub fn on(self, base: &str, instructions: &str) -> String {
        let dockerfile = format!("FROM {base}\nCOPY root/ /\n{instructions}\n");
        super::write(self.folder.path(), "Dockerfile", &dockerfile);
        build(self.folder.path(), &[])
    }
}

/// Where a command of this machine is.
pub fn which(name: &str) -> String {
    ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .iter()
        .map(|dir| format!("{dir}/{name}"))
        .find(|path| Path::new(path).exists())
        .unwrap_or_else(|| panic!("no `{name}` on this machine: run scripts/setup"))
}

fn once(cell: &OnceLock<String>, make: impl FnOnce() -> String) -> String {
    cell.get_or_init(make).clone()
}

/// The image that users copy proem from: `/proem` and nothing else.
pub fn proem() -> String {
    static IMAGE: OnceLock<String> = OnceLock::new();
    once(&IMAGE, || {
        let context = Context::new();
        // The debug binary without its symbols is a tenth of it.
        let status =
            Command::new("strip").arg("-o").arg(context.root().join("proem")).arg(proem::BINARY).status().unwrap();
        assert!(status.success(), "strip");
        context.image("ENTRYPOINT [\"/proem\"]")
    })
}

/// A root with a static busybox and nothing else, as the official busybox image has it.
pub fn busybox() -> String {
    static IMAGE: OnceLock<String> = OnceLock::new();
    once(&IMAGE, || {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
        Context::new()
            .busybox()
            .file("etc/passwd", 0o644, passwd)
            .file("etc/group", 0o644, "root:x:0:\nnobody:x:65534:\n")
            .image("CMD [\"sh\"]")
    })
}

/// What the official nginx image looks like from outside: the program, `/docker-entrypoint.sh` that runs
/// `/docker-entrypoint.d/*.sh` before nginx, `conf.d/default.conf`, QUIT as stop signal.
pub fn nginx() -> String {
    static IMAGE: OnceLock<String> = OnceLock::new();
    once(&IMAGE, || {
        Context::new()
            .busybox()
            .program(&which("nginx"), "usr/sbin/nginx")
            .file("etc/nginx/mime.types", 0o644, "types { text/html html; text/plain txt; }\n")
            .file("etc/nginx/nginx.conf", 0o644, NGINX_CONF)
            .file("etc/nginx/conf.d/default.conf", 0o644, DEFAULT_CONF)
            .file("usr/share/nginx/html/index.html", 0o644, "Welcome to nginx!\n")
            .file("var/lib/nginx/.keep", 0o644, "")
            .file("var/log/nginx/.keep", 0o644, "")
            .file("run/.keep", 0o644, "")
            .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnginx:x:101:101:nginx:/nonexistent:/bin/false\n")
            .file("etc/group", 0o644, "root:x:0:\nnginx:x:101:\n")
            .file("docker-entrypoint.sh", 0o755, ENTRYPOINT)
            .file("docker-entrypoint.d/10-listen.sh", 0o755, "#!/bin/sh\necho \"$0: ready for start up\"\n")
            .image(
                "ENTRYPOINT [\"/docker-entrypoint.sh\"]\nEXPOSE 80\nSTOPSIGNAL SIGQUIT\nCMD [\"nginx\", \"-g\", \"daemon off;\"]",
            )
    })
}

/// Both servers of the `php-nginx` example, not configured: what its `base.Dockerfile` makes.
pub fn php_nginx() -> String {
    static IMAGE: OnceLock<String> = OnceLock::new();
    once(&IMAGE, || {
        let fpm = super::fpm::program();
        Context::new()
            .busybox()
            .program(&which("nginx"), "usr/sbin/nginx")
            .program(super::text(&fpm), "usr/sbin/php-fpm")
            // Debian's PHP takes its time zones from here, and does not start without them.
            .file("usr/share/zoneinfo/zone.tab", 0o644, &super::read(Path::new("/usr/share/zoneinfo/zone.tab")))
            .directory("/usr/share/zoneinfo/Etc", "usr/share/zoneinfo/Etc")
            .file("etc/nginx/nginx.conf", 0o644, NGINX_CONF)
            .file("var/lib/nginx/.keep", 0o644, "")
            .file("var/log/nginx/.keep", 0o644, "")
            .file("run/.keep", 0o644, "")
            .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nwww-data:x:82:82::/:/bin/false\n")
            .file("etc/group", 0o644, "root:x:0:\nwww-data:x:82:\n")
            .image("STOPSIGNAL SIGQUIT\nCMD [\"php-fpm\"]")
    })
}

const NGINX_CONF: &str = "user nginx;
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 128; }
http {
    include /etc/nginx/mime.types;
    default_type text/plain;
    access_log off;
    include /etc/nginx/conf.d/*.conf;
}
";

const DEFAULT_CONF: &str = "server {
    listen 80;
    location / { root /usr/share/nginx/html; index index.html; }
}
";

const ENTRYPOINT: &str = r#"#!/bin/sh
set -e
if [ "$1" = nginx ]; then
    for script in $(find /docker-entrypoint.d/ -type f -name '*.sh' | sort); do
        echo "$0: launching $script"
        "$script"
    done
    echo "$0: configuration complete; ready for start up"
fi
exec "$@"
"#;

/// The machine's JDK, as an image that has `java` and `javac`.
pub fn jdk() -> String {
    static IMAGE: OnceLock<String> = OnceLock::new();
    once(&IMAGE, || {
        let javac = fs::canonicalize(which("javac")).unwrap();
        let home = javac.parent().and_then(Path::parent).unwrap();
        let at = |path: &str| super::text(&home.join(path)).to_owned();
        let mut context =
            Context::new().busybox().program(&at("lib/server/libjvm.so"), "opt/java/lib/server/libjvm.so");
        for name in ["java", "javac"] {
            context = context.program(&at(&format!("bin/{name}")), &format!("opt/java/bin/{name}"));
        }
        for entry in fs::read_dir(home.join("lib")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            // Links into Debian's /etc lead nowhere in an image, and are followed; what is no file is not needed.
            if path.is_file() && !name.contains("awt") {
                context.copy(&path, &format!("opt/java/lib/{name}"));
            }
        }
        context.directory(&at("conf/security"), "opt/java/conf/security").image("ENV PATH=/opt/java/bin:/bin")
    })
}

/// What the official Vault image does by default, by `rvault`: a server in development mode, with the root token and
/// the `vault kv put` that its users expect.
pub fn vault() -> String {
    static IMAGE: OnceLock<String> = OnceLock::new();
    once(&IMAGE, || {
        Context::new()
            .busybox()
            .program(super::text(&super::vault::program()), "bin/rvault")
            .file("etc/rvault.hcl", 0o644, &super::vault::configuration("/data", "0.0.0.0:8200"))
            .file("data/.keep", 0o644, "")
            .file("bin/serve", 0o755, SERVE)
            .file("bin/vault", 0o755, KV_PUT)
            .image("ENTRYPOINT [\"/bin/serve\"]")
    })
}

const SERVE: &str = r#"#!/bin/sh
set -e
rvault server --config /etc/rvault.hcl &
post() { wget -q -O - --header "X-Vault-Token: $root" --post-data "$2" "http://127.0.0.1:8200/v1/$1"; }
field() { sed "s/.*\"$1\":\[*\"\([^\"]*\).*/\1/"; }
root=none
until answer=$(post sys/init '{"secret_shares":1,"secret_threshold":1}'); do sleep 0.1; done
root=$(echo "$answer" | field root_token)
post sys/unseal "{\"key\":\"$(echo "$answer" | field keys)\"}"
post auth/token/create "{\"id\":\"$VAULT_DEV_ROOT_TOKEN_ID\",\"policies\":[\"default\"]}"
wait
"#;

const KV_PUT: &str = r#"#!/bin/sh
set -e
[ "$1 $2" = "kv put" ]
path=$3
shift 3
data=
for pair in "$@"; do data="$data,\"${pair%%=*}\":\"${pair#*=}\""; done
exec wget -q -O - --header "X-Vault-Token: $VAULT_TOKEN" --post-data "{${data#,}}" "$VAULT_ADDR/v1/$path"
"#;

/// An image with Consul: `consul agent` as a server of its own.
pub fn consul() -> String {
    static IMAGE: OnceLock<String> = OnceLock::new();
    once(&IMAGE, || {
        let configuration = super::server::configuration("0.0.0.0", [8500, 8301, 8302, 8300]);
        Context::new().program(&which("consul"), "bin/consul").file("consul.json", 0o644, &configuration).image(
            "VOLUME /data\nENTRYPOINT [\"consul\"]\nCMD [\"agent\", \"-config-file\", \"/consul.json\", \"-data-dir\", \"/data\"]",
        )
    })
}

/// A Consul server in a container on a network, reachable there by the container's name and from the test by address.
pub struct ConsulContainer {
    /// Its API, at the container's present address.
    pub api: super::server::Api,
    /// The container.
    pub container: Container,
}

impl ConsulContainer {
    /// Starts one and waits until it takes writes.
    pub fn start(network: &Network) -> ConsulContainer {
        let container = Container::run(&consul(), &["--network", &network.name], &[]);
        let mut consul = ConsulContainer { api: super::server::Api { address: String::new() }, container };
        consul.serve();
        consul
    }

    /// `docker start` after a stop; its data is still there.
    pub fn start_again(&mut self) {
        self.container.start();
        self.serve();
    }

    fn serve(&mut self) {
        // The address may be another one after a restart.
        self.api.address = format!("{}:8500", self.container.ip());
        self.api.ready(|| self.container.logs());
    }
}
