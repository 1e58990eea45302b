import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.core.execution.RecoveryClaimMode;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Word count on Flink's DataStream API, exactly once, in a local cluster of one process.
 *
 * <pre>lines -> Combiner (by hand, before the shuffle) -> keyBy word -> Sum (keyed state) -> counts</pre>
 *
 * How exactly-once is kept: a checkpoint holds the source's offsets and the totals. The combiner hands its words on
 * before it lets a checkpoint barrier pass, so it has no state of its own. The sink writes in a Kafka transaction
 * for each checkpoint, commits it when the checkpoint is complete, and the source commits its offsets then.
 */
public final class WordCount {
    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        String prefix = arguments[1];
        String name = arguments[2];
        String backend = arguments[3]; // rocksdb or hashmap
        long checkpointMillis = Long.parseLong(arguments[4]);
        int parallelism = Integer.parseInt(arguments[5]);
        String directory = arguments[6];
        String checkpoint = arguments.length > 7 ? arguments[7] : null; // to go on from

        Configuration settings = new Configuration();
        settings.set(StateBackendOptions.STATE_BACKEND, backend);
        settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofMillis(checkpointMillis));
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + directory);
        settings.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, true);
        settings.set(
                CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION,
                ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        if (checkpoint != null) {
            settings.set(StateRecoveryOptions.SAVEPOINT_PATH, "file://" + checkpoint);
            // Its files become the new run's own. By default (NO_CLAIM) the next checkpoint would copy all of them.
            settings.set(StateRecoveryOptions.RESTORE_MODE, RecoveryClaimMode.CLAIM);
        }
        settings.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(512)); // RocksDB's, 256 MB a slot
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(PipelineOptions.AUTO_WATERMARK_INTERVAL, Duration.ZERO);
        settings.set(RestartStrategyOptions.RESTART_STRATEGY, "none"); // a failed run is to be seen
        StreamExecutionEnvironment flow = StreamExecutionEnvironment.createLocalEnvironment(parallelism, settings);

        KafkaSource<byte[]> lines =
                KafkaSource.<byte[]>builder()
                        .setBootstrapServers(bootstrap)
                        .setTopics(prefix + "lines")
                        .setGroupId(name)
                        .setStartingOffsets(OffsetsInitializer.earliest())
                        .setDeserializer(KafkaRecordDeserializationSchema.valueOnly(ByteArrayDeserializer.class))
                        .setProperty("isolation.level", "read_committed")
                        .setProperty("max.poll.records", "20000")
                        .setProperty("max.partition.fetch.bytes", "4194304")
                        .build();

        Properties producer = new Properties();
        producer.setProperty("compression.type", "lz4");
        producer.setProperty("batch.size", "1000000");
        producer.setProperty("linger.ms", "20");
        producer.setProperty("buffer.memory", "134217728");
        producer.setProperty("transaction.timeout.ms", "60000");
        // POOLING takes the same transactional ids again and again, and so has fewer of them to fence and to remember.
        KafkaSink<Tuple2<String, Long>> counts =
                KafkaSink.<Tuple2<String, Long>>builder()
                        .setBootstrapServers(bootstrap)
                        .setKafkaProducerConfig(producer)
                        .setRecordSerializer(
                                KafkaRecordSerializationSchema.<Tuple2<String, Long>>builder()
                                        .setTopic(prefix + "counts")
                                        .setKeySerializationSchema(new Key())
                                        .setValueSerializationSchema(new Total())
                                        .build())
                        .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                        .setTransactionalIdPrefix(name)
                        .setTransactionNamingStrategy(TransactionNamingStrategy.POOLING)
                        .build();

        flow.fromSource(lines, WatermarkStrategy.noWatermarks(), "lines")
                .transform("combine", Types.TUPLE(Types.STRING, Types.LONG), new Combiner())
                .keyBy(word -> word.f0, Types.STRING)
                .process(new Sum())
                .returns(Types.TUPLE(Types.STRING, Types.LONG))
                .sinkTo(counts);
        JobClient job = flow.executeAsync(name);
        // SIGTERM cancels the job, as `flink cancel` does, and its newest checkpoint stays. Flink's own hooks take the
        // local cluster down meanwhile; even where they are quicker, nothing is lost: the bench ends a run when a
        // checkpoint is complete that has all of its lines.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> cancel(job)));
        job.getJobExecutionResult().get();
    }

    private static void cancel(JobClient job) {
        try {
            job.cancel().get(5, TimeUnit.SECONDS);
            job.getJobExecutionResult().handle((result, cancelled) -> null).get(5, TimeUnit.SECONDS);
        } catch (Exception failed) {
            System.err.println("not cancelled: " + failed); // it has failed or ended before
        }
    }

    /** Adds what the combiners hand over to the word's total and sends the new total on. */
    private static final class Sum extends KeyedProcessFunction<String, Tuple2<String, Long>, Tuple2<String, Long>> {
        private transient ValueState<Long> totals;

        @Override
        public void open(OpenContext context) {
            totals = getRuntimeContext().getState(new ValueStateDescriptor<>("total", Types.LONG));
        }

        @Override
        public void processElement(Tuple2<String, Long> word, Context context, Collector<Tuple2<String, Long>> out)
                throws Exception {
            Long before = totals.value();
            word.f1 = before == null ? word.f1 : word.f1 + before;
            totals.update(word.f1);
            out.collect(word); // objects are reused, so the same one goes on
        }
    }

    private static final class Key implements SerializationSchema<Tuple2<String, Long>> {
        @Override
        public byte[] serialize(Tuple2<String, Long> word) {
            return word.f0.getBytes(StandardCharsets.ISO_8859_1);
        }
    }

    private static final class Total implements SerializationSchema<Tuple2<String, Long>> {
        @Override
        public byte[] serialize(Tuple2<String, Long> word) {
            return ByteBuffer.allocate(8).putLong(word.f1).array(); // big endian
        }
    }
}
