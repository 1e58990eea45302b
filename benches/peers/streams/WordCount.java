import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Word count on Kafka Streams' DSL: lines -> a repartition topic of words -> RocksDB -> counts.
 *
 * <p>How exactly-once is kept: `exactly_once_v2`. Each thread commits its input offsets, the repartition and
 * changelog records and the totals in one Kafka transaction. The cache in front of the store holds totals back until
 * a commit, so that a word has one record in `counts` a commit and not one for each time that it occurs.
 */
public final class WordCount {
    private static final byte[] ONE = {}; // a null value would not be counted; this one costs a byte

    public static void main(String[] arguments) {
        String bootstrap = arguments[0];
        String prefix = arguments[1];
        String name = arguments[2];
        String commitMillis = arguments[3];
        String threads = arguments[4];
        String directory = arguments[5];
        boolean staticMember = arguments.length > 6; // or a killed one's partitions stay with it for its session

        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        // Since 4.4, off by default (KIP-892): what is not committed stays out of a store, so none is thrown away after
        // a kill. What RocksDB had not written to disk yet is read from the changelog again.
        settings.put(StreamsConfig.TRANSACTIONAL_STATE_STORES_CONFIG, true);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, threads);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, commitMillis);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, directory);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        if (staticMember) {
            settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), arguments[6]);
        }
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 1_000_000);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 20);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128L << 20);

        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(prefix + "lines", Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .flatMap((none, line) -> words(line))
                .groupByKey(Grouped.with("words", Serdes.String(), Serdes.ByteArray()))
                .count(
                        Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("totals")
                                .withKeySerde(Serdes.String())
                                .withValueSerde(Serdes.Long())) // 8 bytes, big endian
                .toStream()
                .to(prefix + "counts", Produced.with(Serdes.String(), Serdes.Long()));

        KafkaStreams streams = new KafkaStreams(builder.build(settings), settings);
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    return StreamThreadExceptionResponse.SHUTDOWN_CLIENT; // a failed run is to be seen
                });
        streams.setStateListener(
                (now, before) -> {
                    if (now == KafkaStreams.State.ERROR) {
                        Runtime.getRuntime().halt(1);
                    }
                });
        streams.setGlobalStateRestoreListener(new Restores());
        // By default its members stay in the group until their session ends, 45 s, and a next start waits for that.
        CloseOptions leaving = CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(leaving)));
        streams.start();
    }

    /** Prints when the reading of each store begins and ends, in milliseconds, for benches/test_restore.py. */
    private static final class Restores implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition partition, String store, long first, long end) {
            System.out.println("restore " + System.currentTimeMillis() + " 0");
        }

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long last, long records) {}

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long records) {
            System.out.println("restore " + System.currentTimeMillis() + " " + records);
        }
    }

    private static List<KeyValue<String, byte[]>> words(byte[] line) {
        List<KeyValue<String, byte[]>> words = new ArrayList<>();
        for (int place = 0; place <= line.length; place++) {
            int from = place;
            while (place < line.length && isLetter(line[place])) {
                if (line[place] < 'a' && line[place] != '_') {
                    line[place] += 'a' - 'A'; // the line is this record's own copy
                }
                place++;
            }
            if (place > from) {
                words.add(KeyValue.pair(new String(line, from, place - from, StandardCharsets.ISO_8859_1), ONE));
            }
        }
        return words;
    }

    private static boolean isLetter(byte at) {
        return at >= 'a' && at <= 'z' || at >= 'A' && at <= 'Z' || at == '_';
    }
}
