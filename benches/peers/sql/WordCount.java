import java.time.Duration;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.functions.TableFunction;
import org.apache.flink.types.Row;

/**
 * Word count in Flink SQL. Mini-batches with two-phase aggregation are its combiner: counts are added up before the
 * shuffle and once more in front of the state.
 *
 * <p>How exactly-once is kept: as in the DataStream peer. A checkpoint holds offsets and totals, mini-batches are
 * emptied before its barrier, and the sink commits one Kafka transaction for each.
 */
public final class WordCount {
    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        String prefix = arguments[1];
        String name = arguments[2];
        long checkpointMillis = Long.parseLong(arguments[3]);
        int parallelism = Integer.parseInt(arguments[4]);
        String directory = arguments[5];

        Configuration settings = new Configuration();
        settings.set(StateBackendOptions.STATE_BACKEND, "rocksdb");
        settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofMillis(checkpointMillis));
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + directory);
        settings.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, true);
        settings.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(512));
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(RestartStrategyOptions.RESTART_STRATEGY, "none"); // a failed run is to be seen
        settings.setString("table.exec.mini-batch.enabled", "true");
        settings.setString("table.exec.mini-batch.allow-latency", checkpointMillis + " ms");
        settings.setString("table.exec.mini-batch.size", "200000");
        settings.setString("table.optimizer.agg-phase-strategy", "TWO_PHASE");
        StreamTableEnvironment flow =
                StreamTableEnvironment.create(
                        StreamExecutionEnvironment.createLocalEnvironment(parallelism, settings));

        flow.createTemporarySystemFunction("words", Words.class);
        flow.executeSql(
                "CREATE TABLE lines (line BYTES) WITH ('connector' = 'kafka', 'topic' = '" + prefix + "lines',"
                        + " 'properties.bootstrap.servers' = '" + bootstrap + "', 'properties.group.id' = '" + name + "',"
                        + " 'properties.isolation.level' = 'read_committed', 'properties.max.poll.records' = '20000',"
                        + " 'properties.max.partition.fetch.bytes' = '4194304',"
                        + " 'scan.startup.mode' = 'earliest-offset', 'format' = 'raw')");
        // The raw format writes a BIGINT as 8 bytes, big endian.
        flow.executeSql(
                "CREATE TABLE counts (word STRING, total BIGINT, PRIMARY KEY (word) NOT ENFORCED) WITH"
                        + " ('connector' = 'upsert-kafka', 'topic' = '" + prefix + "counts',"
                        + " 'properties.bootstrap.servers' = '" + bootstrap + "',"
                        + " 'properties.compression.type' = 'lz4', 'properties.batch.size' = '1000000',"
                        + " 'properties.linger.ms' = '20', 'properties.buffer.memory' = '134217728',"
                        + " 'properties.transaction.timeout.ms' = '60000',"
                        + " 'key.format' = 'raw', 'value.format' = 'raw', 'value.fields-include' = 'EXCEPT_KEY',"
                        + " 'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '" + name + "',"
                        + " 'sink.transaction-naming-strategy' = 'POOLING')");
        flow.executeSql(
                        "INSERT INTO counts SELECT word, COUNT(*) FROM lines, LATERAL TABLE(words(line)) AS w(word)"
                                + " GROUP BY word")
                .await();
    }

    /** Splits a line into its words, in lower case. */
    @FunctionHint(output = @DataTypeHint("ROW<word STRING>"))
    public static final class Words extends TableFunction<Row> {
        public void eval(byte[] line) {
            char[] word = new char[16];
            int length = 0;
            for (byte at : line) {
                if (at >= 'a' && at <= 'z' || at == '_' || at >= 'A' && at <= 'Z') {
                    if (length == word.length) {
                        word = java.util.Arrays.copyOf(word, 2 * length);
                    }
                    word[length++] = (char) (at < 'a' && at != '_' ? at + 'a' - 'A' : at);
                } else if (length > 0) {
                    collect(Row.of(new String(word, 0, length)));
                    length = 0;
                }
            }
            if (length > 0) {
                collect(Row.of(new String(word, 0, length)));
            }
        }
    }
}
