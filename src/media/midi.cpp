// Standard MIDI files: chunks of events, each a time since the last one and some bytes. Nothing in them is trusted.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <tuple>

#include "headscope/error.h"
#include "headscope/music.h"
#include "headscope/safetensors.h"

namespace headscope {

namespace {

using Bytes = std::span<const std::byte>;

constexpr std::size_t kMostBytes = std::size_t{64} << 20;
constexpr std::int64_t kMostTicks = std::int64_t{1} << 40;
constexpr int kDrums = 9;

// Reads a chunk from its first byte to its last; errors name the byte of the file.
class Cursor {
 public:
  Cursor(Bytes file, std::size_t begin, std::size_t end, std::string_view name)
      : file_(file), at_(begin), end_(end), name_(name) {}

  [[nodiscard]] bool done() const { return at_ >= end_; }
  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] std::size_t left() const { return end_ - at_; }

  [[noreturn]] void fail(std::string_view expected, std::string_view found) const {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {} at byte {}, found {}", name_, expected, at_, found));
  }
  unsigned byte(std::string_view what) {
    if (done()) fail(what, "the end of the track");
    return std::to_integer<unsigned>(file_[at_++]);
  }
  [[nodiscard]] unsigned peek() const { return std::to_integer<unsigned>(file_[at_]); }
  /// A number in groups of seven bits, at most four.
  std::uint32_t variable(std::string_view what) {
    std::uint32_t out = 0;
    for (int i = 0; i < 4; ++i) {
      const unsigned b = byte(what);
      out = out << 7 | (b & 0x7FU);
      if (b < 0x80U) return out;
    }
    fail(what, "a number of more than four bytes");
  }
  std::uint32_t big(std::size_t count, std::string_view what) {
    std::uint32_t out = 0;
    for (std::size_t i = 0; i < count; ++i) out = out << 8 | byte(what);
    return out;
  }
  Bytes take(std::size_t count, std::string_view what) {
    if (count > left()) fail(fmt::format("{} bytes of {}", count, what), fmt::format("{}", left()));
    at_ += count;
    return file_.subspan(at_ - count, count);
  }

 private:
  Bytes file_;
  std::size_t at_, end_;
  std::string_view name_;
};

// Events of one track.
class TrackReader {
 public:
  TrackReader(Tune& tune, Cursor cursor, std::uint16_t track)
      : tune_(tune), cursor_(cursor), track_(track) {
    open_.fill(-1);
  }

  void read() {
    unsigned running = 0;
    while (!cursor_.done()) {
      tick_ += cursor_.variable("a time");
      if (tick_ > kMostTicks) cursor_.fail("a time below 2^40 ticks", "a later one");
      if (cursor_.done()) cursor_.fail("an event", "the end of the track");
      unsigned status = cursor_.peek();
      if (status >= 0x80U) {
        (void)cursor_.byte("an event");
      } else if (running >= 0x80U) {
        status = running;
      } else {
        cursor_.fail("a status byte of 128 or more", fmt::format("{}", status));
      }
      if (status == 0xFFU) {
        running = 0;
        if (!meta()) break;
      } else if (status == 0xF0U || status == 0xF7U) {
        running = 0;
        (void)cursor_.take(cursor_.variable("a length"), "a system message");
      } else if (status > 0xF0U) {
        cursor_.fail("an event of a file", fmt::format("status {}", status));
      } else {
        running = status;
        channel(status);
      }
    }
    for (std::int64_t& note : open_) close(note);
  }

  [[nodiscard]] bool drums() const { return drums_; }

 private:
  // False at the end of the track.
  bool meta() {
    const unsigned kind = cursor_.byte("the kind of a meta event");
    const Bytes data = cursor_.take(cursor_.variable("a length"), "a meta event");
    const auto at = [&](std::size_t i) { return std::to_integer<unsigned>(data[i]); };
    if (kind == 0x51U && data.size() == 3) {
      const std::int64_t us = at(0) << 16U | at(1) << 8U | at(2);
      if (us > 0) tune_.tempos.push_back({tick_, us});
    } else if (kind == 0x58U && data.size() >= 2 && at(0) > 0 && at(1) < 8) {
      tune_.meters.push_back({tick_, static_cast<int>(at(0)), 1 << at(1)});
    }
    return kind != 0x2FU;
  }

  unsigned data() {
    const unsigned x = cursor_.byte("a data byte");
    if (x >= 0x80U) cursor_.fail("a data byte below 128", fmt::format("{}", x));
    return x;
  }

  void channel(unsigned status) {
    const unsigned kind = status >> 4U;
    const unsigned first = data();
    if (kind == 0xCU || kind == 0xDU) return;
    const unsigned second = data();
    if (kind != 0x8U && kind != 0x9U) return;
    const unsigned channel = status & 0xFU;
    if (channel == kDrums) {
      drums_ = true;
      return;
    }
    std::int64_t& open = open_[channel * 128 + first];
    close(open);
    if (kind == 0x8U || second == 0) return;
    open = static_cast<std::int64_t>(tune_.notes.size());
    tune_.notes.push_back({tick_,
                           1,
                           static_cast<std::uint8_t>(first),
                           static_cast<std::uint8_t>(second),
                           static_cast<std::uint8_t>(channel),
                           track_});
  }

  void close(std::int64_t& open) {
    if (open >= 0) {
      Note& note = tune_.notes[static_cast<std::size_t>(open)];
      note.length = std::max<std::int64_t>(tick_ - note.onset, 1);
    }
    open = -1;
  }

  Tune& tune_;
  Cursor cursor_;
  std::uint16_t track_;
  std::int64_t tick_ = 0;
  bool drums_ = false;
  std::array<std::int64_t, 16 * 128> open_{};  // the note that sounds, by channel and pitch
};

void read_header(Cursor& chunk, std::string_view name, Tune& tune) {
  const std::uint32_t format = chunk.big(2, "a format");
  (void)chunk.big(2, "the number of tracks");
  const std::uint32_t division = chunk.big(2, "a division of time");
  if (format > 1) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected a MIDI file of format 0 or 1, found {}", name, format));
  }
  if (division >= 0x8000U) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected time in parts of a beat, found frames of film", name));
  }
  if (division == 0) chunk.fail("at least one tick a beat", "none");
  tune.ticks_per_beat = static_cast<int>(division);
}

bool is(Bytes file, std::size_t at, std::string_view word) {
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (std::to_integer<char>(file[at + i]) != word[i]) return false;
  }
  return true;
}

// Where a MIDI file begins and ends: a RIFF file has one in its chunk "data".
std::pair<std::size_t, std::size_t> extent(Bytes file, std::string_view name) {
  if (file.size() < 12 || !is(file, 0, "RIFF") || !is(file, 8, "RMID")) return {0, file.size()};
  for (std::size_t at = 12; file.size() - at >= 8;) {
    std::size_t length = 0;
    for (std::size_t i = 4; i-- > 0;)
      length = length << 8U | std::to_integer<std::size_t>(file[at + 4 + i]);
    const std::size_t left = file.size() - at - 8;
    if (length > left) {
      Cursor(file, at + 4, file.size(), name)
          .fail(fmt::format("a chunk of at most {} bytes", left), fmt::format("{}", length));
    }
    if (is(file, at, "data")) return {at + 8, at + 8 + length};
    at += 8 + std::min(length + length % 2, left);
  }
  return {file.size(), file.size()};
}

void put_variable(std::string& out, std::int64_t n) {
  std::array<char, 5> groups{};
  std::size_t count = 0;
  do {
    groups[count++] = static_cast<char>(n & 0x7F);
    n >>= 7;
  } while (n > 0);
  while (count-- > 0) out += static_cast<char>(groups[count] | (count > 0 ? 0x80 : 0));
}

void put_big(std::string& out, std::uint32_t n, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(n >> (8 * i) & 0xFFU);
}

struct Event {
  std::int64_t tick = 0;
  int order = 0;  // at one tick: what is said of time, then ends, then beginnings
  std::string bytes;
};

void check_note(const Note& note) {
  const bool fits = note.onset >= 0 && note.length >= 1 && note.onset + note.length < (1 << 28) &&
                    note.pitch < 128 && note.velocity >= 1 && note.velocity < 128 &&
                    note.channel < 16;
  if (fits) return;
  throw Error(
      ErrorCode::kRange,
      fmt::format("[midi] expected pitch 0..127, velocity 1..127, channel 0..15, ticks below 2^28, "
                  "found {}, {}, {}, {} + {}",
                  note.pitch,
                  note.velocity,
                  note.channel,
                  note.onset,
                  note.length));
}

std::vector<Event> events_of(const Tune& tune) {
  std::vector<Event> out;
  for (const Tune::Tempo& tempo : tune.tempos) {
    std::string bytes("\xFF\x51\x03", 3);
    put_big(bytes,
            static_cast<std::uint32_t>(std::clamp<std::int64_t>(tempo.microseconds, 1, 0xFFFFFF)),
            3);
    out.push_back({tempo.tick, 0, std::move(bytes)});
  }
  for (const Tune::Meter& meter : tune.meters) {
    std::string bytes("\xFF\x58\x04", 3);
    bytes += static_cast<char>(std::clamp(meter.beats, 1, 127));
    bytes += static_cast<char>(std::countr_zero(static_cast<unsigned>(std::max(meter.unit, 1))));
    bytes += "\x18\x08";
    out.push_back({meter.tick, 0, std::move(bytes)});
  }
  for (const Note& note : tune.notes) {
    check_note(note);
    const auto say = [&](unsigned status, unsigned velocity) {
      return std::string{static_cast<char>(status | note.channel),
                         static_cast<char>(note.pitch),
                         static_cast<char>(velocity)};
    };
    out.push_back({note.onset, 2, say(0x90U, note.velocity)});
    out.push_back({note.onset + note.length, 1, say(0x80U, 64)});
  }
  std::stable_sort(out.begin(), out.end(), [](const Event& a, const Event& b) {
    return std::tie(a.tick, a.order) < std::tie(b.tick, b.order);
  });
  return out;
}

}  // namespace

std::int64_t Tune::ticks() const {
  std::int64_t out = 0;
  for (const Note& note : notes) out = std::max(out, note.onset + note.length);
  return out;
}

double Tune::seconds(std::int64_t tick) const {
  double out = 0.0;
  Tempo now;
  const auto lasting = [&](std::int64_t until) {
    return static_cast<double>(until - now.tick) * static_cast<double>(now.microseconds) * 1e-6 /
           static_cast<double>(ticks_per_beat);
  };
  for (const Tempo& next : tempos) {
    if (next.tick >= tick) break;
    out += lasting(next.tick);
    now = next;
  }
  return out + lasting(tick);
}

Tune parse_midi(Bytes file, std::string_view name) {
  const auto [begin, end] = extent(file, name);
  file = file.first(end);
  if (end - begin < 14 || !is(file, begin, "MThd")) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format("[{}] expected a MIDI file that begins with MThd, found another", name));
  }
  if (file.size() > kMostBytes) {
    throw Error(
        ErrorCode::kResources,
        fmt::format(
            "[{}] expected a MIDI file of at most 64 MiB, found {} bytes", name, file.size()));
  }
  Tune tune;
  std::uint16_t track = 0;
  bool drums = false;
  for (std::size_t at = begin; file.size() - at >= 8;) {
    Cursor size(file, at + 4, at + 8, name);
    const std::size_t length = size.big(4, "a size");
    if (length > file.size() - at - 8) {
      Cursor(file, at + 4, file.size(), name)
          .fail(fmt::format("a chunk of at most {} bytes", file.size() - at - 8),
                fmt::format("{}", length));
    }
    Cursor chunk(file, at + 8, at + 8 + length, name);
    if (at == begin) {
      read_header(chunk, name, tune);
    } else if (is(file, at, "MTrk")) {
      TrackReader reader(tune, chunk, track);
      reader.read();
      drums = drums || reader.drums();
      if (track < UINT16_MAX) ++track;
    }
    at += 8 + length;
  }
  if (tune.notes.empty()) {
    throw Error(
        ErrorCode::kInput,
        fmt::format(
            "[{}] expected notes, found {}", name, drums ? "drums alone (channel 10)" : "none"));
  }
  const auto by_tick = [](const auto& a, const auto& b) { return a.tick < b.tick; };
  std::stable_sort(tune.tempos.begin(), tune.tempos.end(), by_tick);
  std::stable_sort(tune.meters.begin(), tune.meters.end(), by_tick);
  std::stable_sort(tune.notes.begin(), tune.notes.end(), [](const Note& a, const Note& b) {
    return std::tie(a.onset, b.pitch) < std::tie(b.onset, a.pitch);
  });
  return tune;
}

Tune read_midi(const std::filesystem::path& path) {
  const std::string file = read_file(path, kMostBytes);
  return parse_midi(std::as_bytes(std::span(file)), path.string());
}

std::string midi_bytes(const Tune& tune) {
  if (tune.ticks_per_beat < 1 || tune.ticks_per_beat > 0x7FFF) {
    throw Error(
        ErrorCode::kRange,
        fmt::format("[midi] expected 1 to 32767 ticks a beat, found {}", tune.ticks_per_beat));
  }
  std::string track;
  std::int64_t now = 0;
  for (const Event& event : events_of(tune)) {
    put_variable(track, event.tick - now);
    now = event.tick;
    track += event.bytes;
  }
  track += std::string("\0\xFF\x2F\0", 4);
  std::string out("MThd\0\0\0\6\0\0\0\1", 12);
  put_big(out, static_cast<std::uint32_t>(tune.ticks_per_beat), 2);
  out += "MTrk";
  put_big(out, static_cast<std::uint32_t>(track.size()), 4);
  return out + track;
}

}  // namespace headscope
