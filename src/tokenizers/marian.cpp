#include "tokenizers/marian.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "headscope/error.h"
#include "tokenizers/precompiled.h"
#include "tokenizers/sentencepiece_file.h"
#include "tokenizers/unicode.h"
#include "tokenizers/unigram.h"

namespace headscope::tokenizers {

namespace {

using json::Value;
using Type = SentencePieceFile::Type;

constexpr std::string_view kPieces = "source.spm";
constexpr std::string_view kIds = "vocab.json";
constexpr std::string_view kSettings = "tokenizer_config.json";

void check(const SentencePieceFile& file) {
  const auto refuse = [](std::string_view expected, std::string_view found) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected {}, found {}", kPieces, expected, found));
  };
  if (file.algorithm != SentencePieceFile::Algorithm::kUnigram)
    refuse("a Unigram model", "one of another kind");
  if (file.byte_fallback) refuse("unknown text to stay whole", "byte_fallback");
  if (file.mark_behind || !file.escape_spaces)
    refuse("marks of spaces before words", "words marked in another way");
}

/// The pieces of texts, by place, and their ids in the vocabulary of both languages.
class Marian : public Model {
 public:
  Marian(const SentencePieceFile& file, Vocabulary vocabulary, std::int32_t unknown)
      : vocabulary_(std::move(vocabulary)), unknown_(unknown) {
    ModelParts parts;
    std::vector<TokenEntry>& entries = parts.vocab.emplace();
    parts.scored = parts.single = true;
    double least = std::numeric_limits<float>::max();
    // The smallest positive number where all scores are negative, as in SentencePiece: such pieces always win.
    double most = std::numeric_limits<float>::min();
    for (const auto& piece : file.pieces) {
      if (piece.type != Type::kNormal) continue;
      least = std::min(least, double{piece.score});
      most = std::max(most, double{piece.score});
    }
    parts.least = least;
    std::size_t known = 0;
    for (const auto& piece : file.pieces) {
      if (piece.type != Type::kNormal && piece.type != Type::kUserDefined) continue;
      const auto size = static_cast<double>(piece.text.size());
      const double score = piece.type == Type::kNormal ? double{piece.score} : size * most - 0.1;
      entries.push_back({piece.text, static_cast<std::int64_t>(entries.size()), score});
      ids_.push_back(vocabulary_.id_of(piece.text));
      known += ids_.back() >= 0 ? 1 : 0;
      if (ids_.back() < 0) ids_.back() = unknown_;
    }
    // A few rare pieces may be in no training text, and so in no vocabulary.
    if (known == 0 || known < entries.size() / 2) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format("[{}] expected ids of the {} pieces of {}, found {}: of another model?",
                      kIds,
                      entries.size(),
                      kPieces,
                      known));
    }
    // Its text is one that no piece of a text can be: added tokens are found before.
    entries.push_back(
        {*vocabulary_.token_of(unknown), static_cast<std::int64_t>(entries.size()), 0});
    parts.options = {{"type", "Unigram"}, {"unk_id", entries.size() - 1}};
    pieces_ = make_unigram(parts, kPieces);
  }

  void tokenize(std::u32string_view word, std::vector<Piece>& out) const override {
    std::size_t n = out.size();
    pieces_->tokenize(word, out);
    for (; n < out.size(); ++n) {
      Piece& piece = out[n];
      if (piece.id != pieces_->unknown_id()) {
        piece.id = ids_[static_cast<std::size_t>(piece.id)];
        continue;
      }
      // The other language may have a piece for it.
      const auto text = to_utf8(word.substr(piece.begin, piece.end - piece.begin));
      piece.id = vocabulary_.id_of(text);
      if (piece.id < 0) piece.id = unknown_;
    }
  }
  [[nodiscard]] bool marks_words() const override { return true; }
  [[nodiscard]] const Vocabulary& vocabulary() const override { return vocabulary_; }
  [[nodiscard]] std::int32_t unknown_id() const override { return unknown_; }

 private:
  Vocabulary vocabulary_;
  std::unique_ptr<const Model> pieces_;
  std::vector<std::int32_t> ids_;
  std::int32_t unknown_;
};

/// A token that tokenizer_config.json may call otherwise.
std::string special(const Value& settings, const char* key, const char* usual) {
  const Value* token = json::find(settings, key, kSettings);
  if (token == nullptr) return usual;
  if (token->is_object()) return json::get_or<std::string>(*token, "content", usual, kSettings);
  return json::as<std::string>(*token, key, kSettings);
}

std::int32_t require_id(const Vocabulary& vocabulary, const std::string& token) {
  if (const std::int32_t id = vocabulary.id_of(token); id >= 0) return id;
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected an id of {}, found none", kIds, json::quote(token)));
}

}  // namespace

std::unique_ptr<Tokenizer::Parts> make_marian(const MarianFiles& files) {
  const SentencePieceFile file = read_sentencepiece(files.pieces, kPieces);
  check(file);
  const Value settings =
      files.settings.empty() ? Value::object() : json::parse(files.settings, kSettings);
  if (json::get_or<bool>(settings, "separate_vocabs", false, kSettings)) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected one vocabulary of both languages, found separate_vocabs",
                            kSettings));
  }
  const Value ids = json::parse(files.ids, kIds);
  if (!ids.is_object()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected an object of ids, found {}", kIds, json::describe(ids)));
  }
  std::vector<TokenEntry> entries;
  entries.reserve(ids.size());
  for (const auto& [token, id] : ids.items())
    entries.push_back({token, json::as<std::int64_t>(id, token, kIds), 0});
  Vocabulary vocabulary(entries, kIds);
  const std::string unknown = special(settings, "unk_token", "<unk>");
  const std::string end = special(settings, "eos_token", "</s>");
  const std::int32_t unknown_id = require_id(vocabulary, unknown);
  const std::int32_t end_id = require_id(vocabulary, end);

  Value root = Value::object();
  Value& added = root["added_tokens"] = Value::array();
  const std::array specials{unknown, end, special(settings, "pad_token", "<pad>")};
  for (const TokenEntry& entry : entries) {
    const bool language =
        entry.token.size() > 4 && entry.token.starts_with(">>") && entry.token.ends_with("<<");
    if (!language && std::ranges::find(specials, entry.token) == specials.end()) continue;
    added.push_back({{"id", entry.id},
                     {"content", std::string(entry.token)},
                     {"special", true},
                     {"normalized", false}});
  }
  const Value text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Value second = {{"Sequence", {{"id", "B"}, {"type_id", 0}}}};
  const Value last = {{"SpecialToken", {{"id", end}, {"type_id", 0}}}};
  root["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {text, last}},
      {"pair", {text, second, last}},
      {"special_tokens", {{end, {{"id", end}, {"ids", {end_id}}, {"tokens", {end}}}}}}};
  root["decoder"] = {{"type", "Metaspace"}, {"prepend_scheme", "always"}};

  auto parts = std::make_unique<Tokenizer::Parts>();
  SentencePieceNormalizer rules{file.table, file.add_prefix, file.remove_spaces, {}};
  for (const auto& piece : file.pieces) {
    if (piece.type == Type::kUserDefined) rules.kept.push_back(piece.text);
  }
  parts->normalizer = make_sentencepiece(std::move(rules), kPieces);
  parts->model = std::make_unique<const Marian>(file, std::move(vocabulary), unknown_id);
  parts->make(root, kIds);
  return parts;
}

}  // namespace headscope::tokenizers
