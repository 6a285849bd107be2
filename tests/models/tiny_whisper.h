#pragma once

#include <cmath>
#include <string>

#include "headscope/audio.h"
#include "models/tiny_pair.h"

namespace headscope::test {

/// A Whisper of random weights that hears windows of a second; every token is a word of its own.
struct TinyWhisper {
  static constexpr std::int32_t kEnd = 50257, kStart = 50258, kTranslate = 50358,
                                kTranscribe = 50359, kNoTimes = 50363;
  static constexpr std::int64_t kVocabulary = 51865;

  TinyPair made;
  Model model;

  explicit TinyWhisper(std::int64_t vocabulary = kVocabulary)
      : made(TinyPair::Kind::kWhisper,
             {{"decoder_start_token_id", kStart},
              {"eos_token_id", kEnd},
              {"suppress_tokens", {7, 8}},
              {"begin_suppress_tokens", {220, kEnd}}},
             {.vocabulary = vocabulary, .sources = 50, .targets = 24}),
        model(load(vocabulary)) {}

  Model load(std::int64_t vocabulary) {
    json::Value vocab = json::Value::object();
    json::Value added = json::Value::array();
    for (std::int64_t id = 0; id < vocabulary; ++id) {
      std::string token = "w" + std::to_string(id);
      if (id == kEnd) token = "<|endoftext|>";
      if (id == kStart) token = "<|startoftranscript|>";
      if (id > kStart && id < kTranslate) token = "<|l" + std::to_string(id - kStart - 1) + "|>";
      if (id == kTranslate) token = "<|translate|>";
      if (id == kTranscribe) token = "<|transcribe|>";
      if (id == kNoTimes) token = "<|notimestamps|>";
      vocab[token] = id;
      if (token.front() == '<') {
        added.push_back({{"id", id},
                         {"content", token},
                         {"single_word", false},
                         {"lstrip", false},
                         {"rstrip", false},
                         {"normalized", false},
                         {"special", true}});
      }
    }
    const json::Value tokenizer = {
        {"version", "1.0"},
        {"added_tokens", added},
        {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
        {"model", {{"type", "WordLevel"}, {"vocab", vocab}, {"unk_token", "w0"}}}};
    write_file(made.folder() / "tokenizer.json", tokenizer.dump());
    return made.load();
  }
};

inline Audio hum(double seconds, double hz = 220.0) {
  Audio out{std::vector<float>(static_cast<std::size_t>(seconds * 16000.0)), 16000};
  for (std::size_t n = 0; n < out.samples.size(); ++n) {
    const double t = static_cast<double>(n) / 16000.0;
    out.samples[n] = static_cast<float>(0.3 * std::sin(6.283185 * hz * t) +
                                        0.1 * std::sin(6.283185 * 1370.0 * t * t));
  }
  return out;
}

}  // namespace headscope::test
