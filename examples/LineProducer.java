import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Writes the lines of standard input to a topic, each as one record: {@code LineProducer kafka1:9092 lines < book.txt}. */
public class LineProducer {
    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("key.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
        settings.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        settings.put("compression.type", "lz4");  // enable.idempotence and acks=all are Java's defaults

        Queue<Exception> failed = new ConcurrentLinkedQueue<>();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (KafkaProducer<byte[], String> producer = new KafkaProducer<>(settings)) {
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                producer.send(new ProducerRecord<>(args[1], line), (metadata, error) -> {
                    if (error != null) failed.add(error);
                });
            }
        }  // close() waits until each line is acknowledged or has failed
        if (!failed.isEmpty()) {
            System.err.println(failed.size() + " lines were not acknowledged: " + failed.peek());
            System.exit(1);
        }
    }
}
