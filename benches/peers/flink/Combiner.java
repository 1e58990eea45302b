import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Splits lines and adds up equal words until a checkpoint comes or the table is large.
 *
 * <p>Nothing is in the table while a snapshot is taken: `prepareSnapshotPreBarrier` runs before the barrier goes
 * downstream, and what it sends is in front of the barrier, so in the same checkpoint as the offsets of its lines.
 * (Flink SQL's mini-batch, `MapBundleOperator`, does the same.)
 */
final class Combiner extends AbstractStreamOperator<Tuple2<String, Long>>
        implements OneInputStreamOperator<byte[], Tuple2<String, Long>> {
    private static final int MOST_WORDS = 200_000;
    private static final byte[] LOWER = new byte[256]; // 0 where a byte splits words

    static {
        for (int letter = 'a'; letter <= 'z'; letter++) {
            LOWER[letter] = (byte) letter;
            LOWER[letter - 'a' + 'A'] = (byte) letter;
        }
        LOWER['_'] = '_';
    }

    private transient Map<Word, long[]> counts;
    private transient Word probe; // looks words up without making an object for each
    private transient StreamRecord<Tuple2<String, Long>> sent;

    @Override
    public void open() throws Exception {
        super.open();
        counts = new HashMap<>(1 << 16);
        probe = new Word(new byte[64], 0, 0);
        sent = new StreamRecord<>(new Tuple2<>());
    }

    @Override
    public void processElement(StreamRecord<byte[]> line) {
        int length = 0;
        int hash = 0;
        byte[] word = probe.bytes;
        for (byte at : line.getValue()) {
            byte letter = LOWER[at & 0xff];
            if (letter != 0) {
                if (length == word.length) {
                    word = probe.bytes = Arrays.copyOf(word, 2 * length);
                }
                word[length++] = letter;
                hash = 31 * hash + letter;
            } else if (length > 0) {
                add(length, hash);
                length = hash = 0;
            }
        }
        if (length > 0) {
            add(length, hash);
        }
        if (counts.size() >= MOST_WORDS) {
            flush();
        }
    }

    private void add(int length, int hash) {
        probe.length = length;
        probe.hash = hash;
        long[] count = counts.get(probe);
        if (count == null) {
            counts.put(new Word(Arrays.copyOf(probe.bytes, length), length, hash), new long[] {1});
        } else {
            count[0]++;
        }
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpoint) {
        flush();
    }

    @Override
    public void finish() throws Exception {
        flush();
        super.finish();
    }

    private void flush() {
        for (Map.Entry<Word, long[]> entry : counts.entrySet()) {
            sent.getValue().f0 = entry.getKey().toString();
            sent.getValue().f1 = entry.getValue()[0];
            output.collect(sent);
        }
        counts.clear();
    }

    private static final class Word {
        private byte[] bytes;
        private int length;
        private int hash;

        Word(byte[] bytes, int length, int hash) {
            this.bytes = bytes;
            this.length = length;
            this.hash = hash;
        }

        @Override
        public int hashCode() {
            return hash;
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Word word
                    && hash == word.hash
                    && Arrays.equals(bytes, 0, length, word.bytes, 0, word.length);
        }

        @Override
        public String toString() {
            return new String(bytes, 0, length, StandardCharsets.ISO_8859_1);
        }
    }
}
