import com.sun.management.HotSpotDiagnosticMXBean;
import com.sun.net.httpserver.HttpServer;
import java.lang.management.ManagementFactory;
import java.net.InetSocketAddress;

/** A service that takes its credentials from the environment, as many do, and says what it was started with. */
public class Shop {
    public static void main(String[] arguments) throws Exception {
        var user = System.getenv("DB_USER");
        var password = System.getenv("DB_PASSWORD");
        var virtualMachine = ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class);
        var heap = Long.parseLong(virtualMachine.getVMOption("MaxHeapSize").getValue()) >> 20;
        var greeting = String.format("%s, with a password of %d characters and a heap of %d MiB%n", user, password.length(), heap);

        var server = HttpServer.create(new InetSocketAddress(8080), 0);
        server.createContext("/", exchange -> {
            var body = greeting.getBytes();
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
        System.out.print(greeting);
    }
}
