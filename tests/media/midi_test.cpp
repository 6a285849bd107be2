// MIDI files in and out, and notes as the tokens of a model.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "headscope/error.h"
#include "headscope/music.h"

namespace headscope {
namespace {

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string big(std::size_t n, int count) {
  std::string out;
  for (int i = count - 1; i >= 0; --i) out += static_cast<char>(n >> (8 * i) & 0xFF);
  return out;
}

std::string file_of(const std::string& track, int division = 480, int format = 0) {
  return "MThd" + big(6, 4) + big(static_cast<std::size_t>(format), 2) + big(1, 2) +
         big(static_cast<std::size_t>(division), 2) + "MTrk" + big(track.size(), 4) + track;
}

Tune random_tune(unsigned seed) {
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  Tune tune;
  tune.ticks_per_beat = 96 + below(900);
  tune.tempos = {{0, 400000 + below(400000)}, {1000, 300000}};
  tune.meters = {{0, 3, 4}};
  for (int channel = 0; channel < 4; ++channel) {
    std::int64_t at = below(300);
    for (int n = 0; n < 40; ++n) {  // one note after the other: nothing is struck while it sounds
      const int length = 1 + below(700);
      tune.notes.push_back({at,
                            length,
                            static_cast<std::uint8_t>(30 + below(60)),
                            static_cast<std::uint8_t>(1 + below(127)),
                            static_cast<std::uint8_t>(channel),
                            0});
      at += length + below(200);
    }
  }
  std::stable_sort(tune.notes.begin(), tune.notes.end(), [](const Note& a, const Note& b) {
    return a.onset != b.onset ? a.onset < b.onset : a.pitch > b.pitch;
  });
  return tune;
}

void expect_error(const std::string& file, ErrorCode code, const std::string& words) {
  try {
    (void)parse_midi(bytes(file), "x.mid");
    FAIL() << "no error for " << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

TEST(Midi, WhatIsWrittenIsReadBack) {
  for (unsigned seed = 1; seed <= 8; ++seed) {
    const Tune tune = random_tune(seed);
    const Tune back = parse_midi(bytes(midi_bytes(tune)), "back.mid");
    EXPECT_EQ(back.ticks_per_beat, tune.ticks_per_beat);
    ASSERT_EQ(back.notes.size(), tune.notes.size());
    for (std::size_t n = 0; n < tune.notes.size(); ++n) {
      const Note& a = back.notes[n];
      const Note& b = tune.notes[n];
      EXPECT_EQ(std::tie(a.onset, a.length, a.pitch), std::tie(b.onset, b.length, b.pitch));
      EXPECT_EQ(std::tie(a.velocity, a.channel), std::tie(b.velocity, b.channel));
    }
    EXPECT_NEAR(back.seconds(tune.ticks()), tune.seconds(tune.ticks()), 1e-9);
  }
}

TEST(Midi, RunningStatusRestrikesAndOpenNotes) {
  // C4 struck twice without release, E4 released by velocity 0, drums, a system message, no end of track.
  const std::string track(
      "\x00\x90\x3C\x40"
      "\x60\x3C\x50"
      "\x00\x40\x60"
      "\x60\x40\x00"
      "\x00\xF0\x02\x01\xF7"
      "\x00\x99\x24\x40"
      "\x60\xC0\x05",
      25);
  const Tune tune = parse_midi(bytes(file_of(track)), "t.mid");
  ASSERT_EQ(tune.notes.size(), 3U);
  EXPECT_EQ(tune.notes[0].length, 96);
  EXPECT_EQ(tune.notes[1].pitch, 64);
  EXPECT_EQ(tune.notes[1].length, 96);
  EXPECT_EQ(tune.notes[2].pitch, 60);
  EXPECT_EQ(tune.notes[2].length, 192);  // to the end of its track
}

TEST(Midi, SecondsFollowTheTempo) {
  Tune tune;
  tune.ticks_per_beat = 100;
  tune.tempos = {{200, 1000000}, {300, 250000}};
  EXPECT_DOUBLE_EQ(tune.seconds(200), 1.0);
  EXPECT_DOUBLE_EQ(tune.seconds(250), 1.5);
  EXPECT_DOUBLE_EQ(tune.seconds(400), 2.25);
}

TEST(Midi, DamageIsNamedWithItsByte) {
  expect_error("RIFF", ErrorCode::kFormat, "MThd");
  expect_error(file_of("\x01"), ErrorCode::kFormat, "expected an event at byte 23");
  expect_error(file_of(std::string("\x00\x3C\x40", 3)), ErrorCode::kFormat, "status byte");
  expect_error(file_of(std::string("\x00\x90\x90\x40", 4)), ErrorCode::kFormat, "below 128");
  expect_error(file_of("\xFF\xFF\xFF\xFF\x00"), ErrorCode::kFormat, "more than four bytes");
  expect_error(file_of(std::string("\x00\xFF\x51\x7F\x01", 5)), ErrorCode::kFormat, "127 bytes");
  expect_error(file_of(std::string("\x00\xFF\x2F\x00", 4)), ErrorCode::kInput, "expected notes");
  expect_error(
      file_of(std::string("\x00\xFF\x2F\x00", 4), 480, 2), ErrorCode::kUnsupported, "format");
  expect_error(file_of("", 0xE250), ErrorCode::kUnsupported, "frames of film");
  std::string longer = file_of(std::string("\x00\xFF\x2F\x00", 4));
  longer[21] = '\x7F';
  expect_error(longer, ErrorCode::kFormat, "a chunk of at most 4 bytes");
}

TEST(Midi, ARiffFileIsSteppedInto) {
  const std::string midi = midi_bytes(random_tune(5));
  const auto little = [](std::size_t n) {
    const std::string out = big(n, 4);
    return std::string(out.rbegin(), out.rend());
  };
  const auto riff = [&](const std::string& chunks) {
    return "RIFF" + little(chunks.size() + 4) + "RMID" + chunks;
  };
  const std::string info = "LIST" + little(5) + std::string("INFO\0\0", 6);  // filled up to even
  const std::string data = "data" + little(midi.size()) + midi;
  for (const std::string& file : {riff(data), riff(info + data), riff(data + info)})
    EXPECT_EQ(midi_bytes(parse_midi(bytes(file), "x.rmi")), midi);
  expect_error(riff(info), ErrorCode::kFormat, "MThd");
  expect_error(riff("data" + little(midi.size() + 1) + midi), ErrorCode::kFormat, "at byte 16");
  expect_error(riff("data" + little(0xFFFFFFFFU)), ErrorCode::kFormat, "at most 0 bytes");
  expect_error(riff("data" + little(25) + file_of("\x01") + midi),
               ErrorCode::kFormat,
               "expected an event at byte 43");
  for (std::size_t n = 0; n < 40; ++n)
    expect_error(riff(info + data).substr(0, n), ErrorCode::kFormat, "x.mid");
}

TEST(Midi, DrumsAloneAreCalledSo) {
  const std::string drum("\x00\x99\x24\x50\x60\x89\x24\x40\x00\xFF\x2F\x00", 12);
  try {
    (void)parse_midi(bytes(file_of(drum)), "d.mid");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), "[d.mid] expected notes, found drums alone (channel 10)");
  }
}

TEST(Midi, EveryCutIsReadOrRefused) {
  const std::string whole = midi_bytes(random_tune(3));
  for (std::size_t n = 0; n < whole.size(); n += 7) {
    try {
      EXPECT_LE(parse_midi(bytes(whole.substr(0, n)), "cut.mid").notes.size(), n);
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
}

TEST(Midi, HostileFilesAreReadOrRefusedInOneLine) {
  int read = 0, refused = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(HEADSCOPE_SOURCE_DIR "/tests/hostile/midi")) {
    try {
      (void)score_of(read_midi(entry.path()), NoteCode{});
      ++read;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << entry.path();
      ++refused;
    }
  }
  EXPECT_EQ(read, 2);  // good, unknown_chunk
  EXPECT_EQ(refused, 16);
}

TEST(Midi, AMillionNotesAreReadAndCounted) {
  std::string track;
  for (int n = 0; n < 1'000'000; ++n)
    track += std::string(n == 0 ? "\x00\x90" : "\x00", n == 0 ? 2 : 1) + "\x3C\x40";
  const Tune tune = parse_midi(bytes(file_of(track)), "many.mid");
  EXPECT_EQ(tune.notes.size(), 1'000'000U);
  EXPECT_EQ(score_of(tune, NoteCode{}).steps(), 1);
}

TEST(Midi, OutOfRangeIsNotWritten) {
  Tune tune;
  tune.notes.push_back({0, 10, 200, 80, 0, 0});
  EXPECT_THROW((void)midi_bytes(tune), Error);
  tune.notes[0] = {0, 10, 60, 0, 0, 0};
  EXPECT_THROW((void)midi_bytes(tune), Error);
}

TEST(Notes, NamesOfPitches) {
  EXPECT_EQ(note_name(60), "C4");
  EXPECT_EQ(note_name(69), "A4");
  EXPECT_EQ(note_name(0), "C-1");
  EXPECT_EQ(note_name(70), "A#4");
  EXPECT_THROW((void)note_name(128), Error);
}

TEST(Notes, TokensAndMidiGiveTheScoreBack) {
  std::mt19937 random(5);
  for (int voices = 1; voices <= 5; ++voices) {
    NoteCode code;
    code.voices.assign(static_cast<std::size_t>(voices), "v");
    Score score;
    score.voices = voices;
    for (int n = 0; n < 60 * voices; ++n) {
      // Voices never cross and never rest, so that channels keep their order.
      const int voice = n % voices;
      score.pitch.push_back(
          static_cast<std::int16_t>(90 - 12 * voice - static_cast<int>(random() % 6)));
    }
    const std::vector<std::int32_t> ids = ids_of(score, code);
    EXPECT_EQ(ids.size(), score.pitch.size() + 1);
    EXPECT_EQ(score_of(ids, code).pitch, score.pitch);
    const Tune tune = parse_midi(bytes(midi_bytes(tune_of(score))), "voices.mid");
    EXPECT_EQ(score_of(tune, code).pitch, score.pitch);
  }
}

TEST(Notes, ChordsOfOneChannelAreSharedOut) {
  Tune tune;
  tune.ticks_per_beat = 4;
  for (const int pitch : {72, 67, 64, 55, 48})
    tune.notes.push_back({0, 4, static_cast<std::uint8_t>(pitch), 80, 0, 0});
  tune.notes.push_back({4, 4, 60, 80, 0, 0});
  tune.notes.push_back({8, 2, 62, 80, 0, 0});
  tune.notes.push_back({8, 4, 50, 80, 0, 0});
  const Score score = score_of(tune, NoteCode{});
  const std::vector<std::int16_t> first(score.pitch.begin(), score.pitch.begin() + 4);
  EXPECT_EQ(first, (std::vector<std::int16_t>{72, 67, 64, 48}));
  EXPECT_EQ(score.steps(), 12);
  EXPECT_EQ(score.pitch[4 * 4], 60);
  EXPECT_EQ(score.pitch[4 * 4 + 3], -1);
  EXPECT_EQ(score.pitch[8 * 4], 62);
  EXPECT_EQ(score.pitch[8 * 4 + 3], 50);
  EXPECT_EQ(score.pitch[11 * 4], 50);  // alone again: the melody
}

TEST(Notes, LabelsSayNoteBeatAndVoice) {
  const NoteCode code;
  const std::vector<std::int32_t> ids = {0, 3 + 72, 2, 3 + 60, 3 + 48, 3 + 72};
  const std::vector<Label> labels = labels_of(ids, code);
  ASSERT_EQ(labels.size(), 6U);
  EXPECT_TRUE(labels[0].special);
  EXPECT_EQ(labels[1].text, "C5 beat 1, soprano");
  EXPECT_EQ(labels[2].text, "rest beat 1, alto");
  EXPECT_EQ(labels[5].text, "C5 beat 1.25, soprano");
  EXPECT_EQ(labels[5].row, 0);
  EXPECT_EQ(labels[5].column, 1);
}

TEST(Notes, WhatTheCodeCannotSayIsRefused) {
  NoteCode code;
  code.lowest = 36;
  code.highest = 81;
  Score score;
  score.pitch = {90, 60, 60, 60};
  EXPECT_THROW((void)ids_of(score, code), Error);
  score.voices = 2;
  EXPECT_THROW((void)ids_of(score, code), Error);
  const std::vector<std::int32_t> ids = {code.vocabulary()};
  EXPECT_THROW((void)score_of(ids, code), Error);
}

}  // namespace
}  // namespace headscope
