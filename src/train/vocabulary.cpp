#include "train/vocabulary.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "headscope/error.h"
#include "train/draws.h"
#include "train/tokenizer_json.h"

namespace headscope::train {

namespace {

using Json = nlohmann::ordered_json;

/// Hands lines to SentencePiece, one at a time.
class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::vector<std::string>& lines) : lines_(lines) {}
  [[nodiscard]] bool done() const override { return at_ >= lines_.size(); }
  void Next() override { ++at_; }
  [[nodiscard]] const std::string& value() const override { return lines_[at_]; }
  [[nodiscard]] sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  std::size_t at_ = 0;
};

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) out.push_back(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

std::vector<std::string> drawn_lines(const std::vector<std::string>& texts, std::int64_t most) {
  std::vector<std::string_view> all;
  for (const std::string& text : texts) {
    const auto some = lines_of(text);
    all.insert(all.end(), some.begin(), some.end());
  }
  const std::size_t n = std::min(all.size(), static_cast<std::size_t>(most));
  std::vector<std::string> out;
  out.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    out.emplace_back(n == all.size() ? all[i] : all[shuffled(i, all.size(), 1)]);
  }
  return out;
}

std::unordered_map<std::string, std::string> arguments(const SentencePieceOptions& options) {
  return {{"model_type", options.bpe ? "bpe" : "unigram"},
          {"vocab_size", std::to_string(options.size)},
          {"hard_vocab_limit", "false"},
          {"character_coverage", "0.9999"},
          {"normalization_rule_name", "identity"},
          {"num_threads", "2"},
          {"max_sentence_length", "65536"},
          {"pad_id", std::to_string(kPad)},
          {"unk_id", std::to_string(kUnknown)},
          {"bos_id", std::to_string(kClass)},
          {"eos_id", std::to_string(kSeparator)},
          {"pad_piece", std::string(kSpecials[kPad])},
          {"unk_piece", std::string(kSpecials[kUnknown])},
          {"bos_piece", std::string(kSpecials[kClass])},
          {"eos_piece", std::string(kSpecials[kSeparator])},
          {"control_symbols", std::string(kSpecials[kMask])},
          {"minloglevel", "2"}};
}

/// A merge for every way to put a piece together, the best pieces first: what SentencePiece decides by score.
Json merges_of(const std::vector<std::string>& pieces) {
  std::unordered_map<std::string_view, std::size_t> rank;
  for (std::size_t i = 0; i < pieces.size(); ++i) rank.emplace(pieces[i], i);
  Json merges = Json::array();
  for (std::size_t i = kSpecialCount; i < pieces.size(); ++i) {
    const std::string_view piece = pieces[i];
    for (std::size_t cut = 1; cut < piece.size(); ++cut) {
      if ((static_cast<unsigned char>(piece[cut]) & 0xC0U) == 0x80U) continue;
      const auto left = rank.find(piece.substr(0, cut));
      const auto right = rank.find(piece.substr(cut));
      if (left == rank.end() || right == rank.end()) continue;
      merges.push_back(Json::array({left->first, right->first}));
    }
  }
  return merges;
}

}  // namespace

std::string sentencepiece_tokenizer(const std::vector<std::string>& texts,
                                    const SentencePieceOptions& options,
                                    std::string* model) {
  const std::vector<std::string> lines = drawn_lines(texts, options.lines);
  if (lines.empty()) throw Error(ErrorCode::kInput, "[tokenizer] expected some text, found none");
  const auto check = [](const sentencepiece::util::Status& status) {
    if (!status.ok()) {
      throw Error(
          ErrorCode::kInput,
          fmt::format("[tokenizer] expected SentencePiece to learn, found {}", status.ToString()));
    }
  };
  Lines iterator(lines);
  std::string proto;
  check(sentencepiece::SentencePieceTrainer::Train(arguments(options), &iterator, &proto));
  sentencepiece::SentencePieceProcessor processor;
  check(processor.LoadFromSerializedProto(proto));
  std::vector<std::string> pieces;
  Json scored = Json::array();
  Json ids = Json::object();
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    pieces.push_back(processor.IdToPiece(id));
    scored.push_back(Json::array({pieces.back(), processor.GetScore(id)}));
    ids[pieces.back()] = id;
  }
  if (model != nullptr) *model = proto;
  Json learnt = {{"type", options.bpe ? "BPE" : "Unigram"}};
  if (options.bpe) {
    learnt["unk_token"] = kSpecials[kUnknown];
    learnt["fuse_unk"] = true;
    learnt["byte_fallback"] = false;
    learnt["vocab"] = std::move(ids);
    learnt["merges"] = merges_of(pieces);
  } else {
    learnt["unk_id"] = static_cast<std::int32_t>(kUnknown);
    learnt["vocab"] = std::move(scored);
    learnt["byte_fallback"] = false;
  }
  // SentencePiece drops spaces at both ends and doubled ones; other white space is a character like any.
  const auto replace = [](const char* pattern, const char* with) {
    return Json{{"type", "Replace"}, {"pattern", {{"Regex", pattern}}}, {"content", with}};
  };
  const Json space = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}, {"split", true}};
  return tokenizer_json(
      {.normalizer = Json{{"type", "Sequence"},
                          {"normalizers", {replace("^ +| +$", ""), replace(" {2,}", " ")}}},
       .pre_tokenizer = space,
       .model = std::move(learnt),
       .decoder = space});
}

}  // namespace headscope::train
