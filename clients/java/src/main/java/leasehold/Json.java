package leasehold;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Reads and writes JSON: objects are maps, numbers are doubles. Here, so that a program gets no dependency with a client. */
final class Json {
    private static final int MOST_DEPTH = 100;

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** The value, or an IllegalArgumentException; an object with a member twice is none. */
    static Object read(String text) {
        Json json = new Json(text);
        Object value = json.value(0);
        json.blanks();
        if (json.at != text.length()) {
            throw json.wrong();
        }
        return value;
    }

    static String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(value, out);
        return out.toString();
    }

    private static void write(Object value, StringBuilder out) {
        if (value instanceof Map<?, ?> map) {
            String between = "{";
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                write(entry.getKey(), out.append(between));
                write(entry.getValue(), out.append(':'));
                between = ",";
            }
            out.append(map.isEmpty() ? "{}" : "}");
        } else if (value instanceof List<?> list) {
            out.append('[');
            for (int i = 0; i < list.size(); i++) {
                write(list.get(i), i == 0 ? out : out.append(','));
            }
            out.append(']');
        } else if (value instanceof String string) {
            out.append('"');
            string.chars().forEach(c -> {
                if (c == '"' || c == '\\') {
                    out.append('\\').append((char) c);
                } else if (c < ' ') {
                    out.append(String.format("\\u%04x", c));
                } else {
                    out.append((char) c);
                }
            });
            out.append('"');
        } else if (value instanceof Double number && number == Math.rint(number) && Math.abs(number) < 1e15 * 9) {
            out.append(number.longValue());
        } else {
            out.append(value);
        }
    }

    private IllegalArgumentException wrong() {
        return new IllegalArgumentException("not JSON at " + at);
    }

    private void blanks() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private boolean take(char c) {
        blanks();
        if (at < text.length() && text.charAt(at) == c) {
            at++;
            return true;
        }
        return false;
    }

    private Object value(int depth) {
        if (depth > MOST_DEPTH) {
            throw wrong();
        }
        if (take('{')) {
            Map<String, Object> map = new LinkedHashMap<>();
            if (take('}')) {
                return map;
            }
            do {
                blanks();
                String name = string();
                if (!take(':') || map.containsKey(name)) {
                    throw wrong();
                }
                map.put(name, value(depth + 1));
            } while (take(','));
            if (!take('}')) {
                throw wrong();
            }
            return map;
        }
        if (take('[')) {
            List<Object> list = new ArrayList<>();
            if (take(']')) {
                return list;
            }
            do {
                list.add(value(depth + 1));
            } while (take(','));
            if (!take(']')) {
                throw wrong();
            }
            return list;
        }
        blanks();
        if (at < text.length() && text.charAt(at) == '"') {
            return string();
        }
        for (Object[] word : new Object[][] {{"true", true}, {"false", false}, {"null", null}}) {
            if (text.startsWith((String) word[0], at)) {
                at += ((String) word[0]).length();
                return word[1];
            }
        }
        return number();
    }

    private Double number() {
        int from = at;
        while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
        String number = text.substring(from, at);
        if (!number.matches("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")) {
            throw wrong();
        }
        double value = Double.parseDouble(number);
        if (Double.isInfinite(value)) {
            throw wrong();
        }
        return value;
    }

    private String string() {
        if (at >= text.length() || text.charAt(at++) != '"') {
            throw wrong();
        }
        StringBuilder out = new StringBuilder();
        while (at < text.length()) {
            char c = text.charAt(at++);
            if (c == '"') {
                return out.toString();
            }
            if (c < ' ') {
                throw wrong();
            }
            if (c != '\\') {
                out.append(c);
                continue;
            }
            if (at >= text.length()) {
                break;
            }
            char escaped = text.charAt(at++);
            int plain = "\"\\/bfnrt".indexOf(escaped);
            if (plain >= 0) {
                out.append("\"\\/\b\f\n\r\t".charAt(plain));
            } else if (escaped == 'u' && at + 4 <= text.length() && text.substring(at, at + 4).matches("[0-9a-fA-F]{4}")) {
                out.append((char) Integer.parseInt(text.substring(at, at + 4), 16));
                at += 4;
            } else {
                throw wrong();
            }
        }
        throw wrong();
    }
}
