//! A world behind a proxy, for connections that break.

use lfsfs_testkit::proxy::Proxy;

use crate::world::World;

/// A world whose client reaches coordinator and datanode through a proxy only.
#[derive(Debug)]
pub struct Proxied {
    /// The world.
    pub world: World,
    /// What the client talks through.
    pub proxy: Proxy,
    server: String,
}

impl Proxied {
    /// Starts a server and a proxy before it.
    ///
    /// # Panics
    /// Where one does not start.
    #[must_use]
    pub fn new() -> Self {
        Self::with_server_arguments(&[])
    }

    /// Starts a server with further arguments and a proxy before it.
    ///
    /// # Panics
    /// Where one does not start.
    #[must_use]
    pub fn with_server_arguments(arguments: &[&str]) -> Self {
        let mut world = World::new();
        // The port is known only now, and the server must name the proxy's.
        let server = world.address().to_owned();
        world.stop_server();
        let proxy = Proxy::start(server.parse().expect("an address")).expect("a proxy");
        let address = proxy.address().to_string();
        world.start_server(&[&["--advertise", &address], arguments].concat());
        world.set_address(&address);
        Self {
            world,
            proxy,
            server,
        }
    }

    /// Returns the server's own address, which leads past the proxy.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Kills the server with SIGKILL; connections to it are refused.
    pub fn kill_server(&mut self) {
        self.proxy.cut();
        self.world.kill_server();
    }

    /// Starts the server again. The proxy forwards without delay from then on.
    pub fn start_server(&mut self) {
        let address = self.proxy.address().to_string();
        self.world.set_address(&self.server);
        self.world.start_server(&["--advertise", &address]);
        self.world.set_address(&address);
        self.proxy.restore().expect("the port of the proxy");
    }

    /// Stops the server and checks its data.
    pub fn check(mut self) {
        self.world.set_address(&self.server);
        self.world.stop_server();
        self.world.assert_check_is_clean();
    }
}

impl Default for Proxied {
    fn default() -> Self {
        Self::new()
    }
}
