#include "models/gguf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include "headscope/safetensors.h"
#include "headscope/tokenizer.h"
#include "tokenizers/gguf_patterns.h"
#include "tokenizers/precompiled.h"

namespace headscope::models {

namespace {

namespace fs = std::filesystem;
using json::Value;

constexpr const char* kWhere = "tokenizer.json";

/// What GGUF says of a token.
enum TokenType {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int> types;
  std::vector<double> scores;  ///< empty unless the kind of tokenizer has them

  void put(std::int64_t id, const std::string& token, int type) {
    if (id < 0 || id >= static_cast<std::int64_t>(tokens.size())) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format("[{}] expected ids of tokens 0..{} (rows of the embeddings), found {} of {}",
                      kWhere,
                      static_cast<std::int64_t>(tokens.size()) - 1,
                      id,
                      json::quote(token)));
    }
    tokens[static_cast<std::size_t>(id)] = token;
    types[static_cast<std::size_t>(id)] = type;
  }
};

bool is_byte(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.back() == '>';
}

/// What a pre-tokeniser splits by, step by step; of steps that split by something else their type.
void regexes_in(const Value& step, std::vector<std::string>& out) {
  const auto type = json::require<std::string>(step, "type", kWhere);
  if (type == "Sequence") {
    const Value* steps = json::find(step, "pretokenizers", kWhere);
    for (const Value& one : steps == nullptr ? Value::array() : *steps) regexes_in(one, out);
  } else if (type == "Split") {
    const Value* pattern = json::find(step, "pattern", kWhere);
    const Value* regex = pattern == nullptr ? nullptr : json::find(*pattern, "Regex", kWhere);
    out.push_back(regex == nullptr ? type : json::as<std::string>(*regex, "a regex", kWhere));
  } else if (type == "Digits") {
    out.emplace_back(json::get_or<bool>(step, "individual_digits", false, kWhere) ? "\\p{N}"
                                                                                  : "\\p{N}+");
  } else if (type != "ByteLevel") {
    out.push_back(type);
  } else if (json::get_or<bool>(step, "use_regex", true, kWhere)) {
    out.emplace_back(tokenizers::gpt2_regex());
  }
}

/// The published name of a byte-level pre-tokeniser. Errors: kUnsupported: another name would give other tokens.
std::string pre_tokenizer_name(const Value& tokenizer, const Value& model) {
  std::vector<std::string> regexes;
  if (const Value* pre = json::find(tokenizer, "pre_tokenizer", kWhere)) regexes_in(*pre, regexes);
  const std::string_view found = tokenizers::gguf_pattern_name(
      regexes, json::get_or<bool>(model, "ignore_merges", false, kWhere));
  if (!found.empty()) return std::string(found);
  std::string all;
  for (const std::string& regex : regexes)
    all += (all.empty() ? "" : ", ") + json::quote(regex.substr(0, 200));
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[{}] expected a way to split texts that GGUF has a name for, found {}",
                          kWhere,
                          all.empty() ? "none" : all));
}

std::vector<std::string> merges_of(const Value& model) {
  std::vector<std::string> out;
  const Value* merges = json::find(model, "merges", kWhere);
  if (merges == nullptr) return out;
  out.reserve(merges->size());
  for (const Value& merge : *merges) {
    if (merge.is_string()) {
      out.push_back(merge.get<std::string>());
    } else {
      const auto pair = json::as<std::vector<std::string>>(merge, "a merge", kWhere);
      if (pair.size() != 2)
        throw Error(ErrorCode::kFormat, "[tokenizer.json] expected merges of two");
      out.push_back(pair[0] + ' ' + pair[1]);
    }
  }
  return out;
}

void put_vocabulary(const Value& model, Vocabulary& out) {
  const Value* vocab = json::find(model, "vocab", kWhere);
  if (vocab == nullptr)
    throw Error(ErrorCode::kFormat, "[tokenizer.json] expected a vocab, found none");
  if (vocab->is_object()) {
    for (const auto& [token, id] : vocab->items())
      out.put(json::as<std::int64_t>(id, token, kWhere), token, kNormal);
    return;
  }
  out.scores.resize(out.tokens.size());
  for (std::size_t i = 0; i < vocab->size(); ++i) {  // Unigram: pairs of a piece and its score
    const Value& pair = (*vocab)[i];
    if (!pair.is_array() || pair.size() != 2) {
      throw Error(ErrorCode::kFormat, "[tokenizer.json] expected pieces with scores");
    }
    out.put(
        static_cast<std::int64_t>(i), json::as<std::string>(pair[0], "a piece", kWhere), kNormal);
    out.scores[i] = json::as<double>(pair[1], "a score", kWhere);
  }
}

void put_added(const Value& tokenizer, Vocabulary& out) {
  const Value* added = json::find(tokenizer, "added_tokens", kWhere);
  if (added == nullptr) return;
  for (const Value& token : *added) {
    const bool special = json::get_or<bool>(token, "special", false, kWhere);
    const auto id = json::require<std::int64_t>(token, "id", kWhere);
    // Some files add a token for padding that the model has no row for: it can never be read.
    if (id >= static_cast<std::int64_t>(out.tokens.size())) continue;
    out.put(id,
            json::require<std::string>(token, "content", kWhere),
            special ? kControl : kUserDefined);
  }
}

/// SentencePiece's order of merges as scores: the earlier a piece is made, the higher.
void score_by_merges(const std::vector<std::string>& merges, Vocabulary& out) {
  std::unordered_map<std::string, std::size_t> rank;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    std::string whole = merges[i];
    const std::size_t space = whole.find(' ');
    if (space == std::string::npos) {
      throw Error(ErrorCode::kFormat,
                  "[tokenizer.json] expected merges of two parts, found " + json::quote(whole));
    }
    whole.erase(space, 1);
    rank.emplace(std::move(whole), i);
  }
  out.scores.assign(out.tokens.size(), 0.0);
  for (std::size_t i = 0; i < out.tokens.size(); ++i) {
    if (out.types[i] != kNormal) continue;
    const auto found = rank.find(out.tokens[i]);
    out.scores[i] = -static_cast<double>(found == rank.end() ? merges.size() : found->second);
  }
}

/// The vocabulary of WordPiece as GGUF has it: what starts a word carries U+2581, what goes on is bare.
void mark_starts(Vocabulary& out) {
  for (std::size_t i = 0; i < out.tokens.size(); ++i) {
    if (out.types[i] != kNormal) continue;
    std::string& token = out.tokens[i];
    if (token.starts_with('[') && token.ends_with(']')) continue;
    token = token.starts_with("##") ? token.substr(2) : "\xE2\x96\x81" + token;
  }
}

Value read_json(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return nullptr;
  return json::parse(read_file(path, std::size_t{256} << 20), path.filename().string());
}

void put_special(const Value& config,
                 const Value& settings,
                 const Vocabulary& vocabulary,
                 Value& metadata) {
  const auto id_of = [&](const char* id_key, const char* token_key) -> std::int64_t {
    if (const Value* id = json::find(config, id_key, "config.json")) {
      const Value& first = id->is_array() && !id->empty() ? id->front() : *id;
      if (first.is_number_integer()) return first.get<std::int64_t>();
    }
    if (!settings.is_object() || !settings.contains(token_key)) return -1;
    const Value& named = settings[token_key];
    const std::string token =
        named.is_object() ? json::get_or<std::string>(named, "content", "", "tokenizer_config.json")
        : named.is_string() ? named.get<std::string>()
                            : std::string();
    for (std::size_t i = 0; i < vocabulary.tokens.size() && !token.empty(); ++i) {
      if (vocabulary.tokens[i] == token) return static_cast<std::int64_t>(i);
    }
    return -1;
  };
  struct Row {
    const char *id, *token, *gguf;
  };
  constexpr Row kRows[] = {{"bos_token_id", "bos_token", "bos_token_id"},
                           {"eos_token_id", "eos_token", "eos_token_id"},
                           {"pad_token_id", "pad_token", "padding_token_id"},
                           {"unk_token_id", "unk_token", "unknown_token_id"},
                           {"sep_token_id", "sep_token", "seperator_token_id"},
                           {"cls_token_id", "cls_token", "cls_token_id"},
                           {"mask_token_id", "mask_token", "mask_token_id"}};
  for (const Row& row : kRows) {
    const std::int64_t id = id_of(row.id, row.token);
    if (id >= 0 && id < static_cast<std::int64_t>(vocabulary.tokens.size()))
      metadata[std::string("tokenizer.ggml.") + row.gguf] = id;
  }
  for (const char* key : {"add_bos_token", "add_eos_token"}) {
    if (settings.is_object() && settings.contains(key) && settings[key].is_boolean())
      metadata[std::string("tokenizer.ggml.") + key] = settings[key];
  }
}

/// BERT's own tokens by their usual names, where no other file names them: readers would take the numbers they have there.
void put_bert_tokens(const Value& model, const Vocabulary& vocabulary, Value& metadata) {
  const auto unknown = json::get_or<std::string>(model, "unk_token", "[UNK]", kWhere);
  const std::pair<std::string, const char*> all[] = {{unknown, "unknown_token_id"},
                                                     {"[CLS]", "cls_token_id"},
                                                     {"[SEP]", "seperator_token_id"},
                                                     {"[PAD]", "padding_token_id"},
                                                     {"[MASK]", "mask_token_id"}};
  for (const auto& [token, name] : all) {
    const std::string key = std::string("tokenizer.ggml.") + name;
    const auto found = std::ranges::find(vocabulary.tokens, token);
    if (metadata.contains(key) || found == vocabulary.tokens.end()) continue;
    metadata[key] = found - vocabulary.tokens.begin();
  }
}

/// The part of a tokenizer.json inside `value` of this type, or null.
const Value* part_of_type(const Value& value, std::string_view type) {
  if (value.is_object() && value.contains("type") && value["type"] == type) return &value;
  for (const Value& inner : value) {
    if (!inner.is_structured()) continue;
    if (const Value* found = part_of_type(inner, type)) return found;
  }
  return nullptr;
}

/// Whether texts begin and end with a token of their own, where tokenizer_config.json says nothing.
void put_around(const Value& tokenizer, const Vocabulary& vocabulary, Value& metadata) {
  const auto around = tokenizer.find("post_processor");
  const Value* pieces =
      around == tokenizer.end() ? nullptr : part_of_type(*around, "TemplateProcessing");
  if (pieces != nullptr) pieces = json::find(*pieces, "single", kWhere);
  const auto id_of = [&](const Value& piece) -> std::int64_t {
    const Value* special = json::find(piece, "SpecialToken", kWhere);
    if (special == nullptr) return -1;
    const auto token = json::require<std::string>(*special, "id", kWhere);
    const auto found = std::ranges::find(vocabulary.tokens, token);
    return found == vocabulary.tokens.end() ? -1 : found - vocabulary.tokens.begin();
  };
  const bool any = pieces != nullptr && pieces->is_array() && !pieces->empty();
  const std::pair<const char*, std::int64_t> ends[] = {{"bos", any ? id_of(pieces->front()) : -1},
                                                       {"eos", any ? id_of(pieces->back()) : -1}};
  for (const auto& [name, id] : ends) {
    const std::string add = fmt::format("tokenizer.ggml.add_{}_token", name);
    if (metadata.contains(add)) continue;
    metadata[add] = id >= 0;
    if (id >= 0) metadata[fmt::format("tokenizer.ggml.{}_token_id", name)] = id;
  }
}

/// What is written in front of words, the table that normalises texts, and the token of what is in no table.
void put_unigram(const Value& tokenizer, const Value& model, Vocabulary& out, Value& metadata) {
  const auto part = [&](const char* key, std::string_view type) -> const Value* {
    const auto found = tokenizer.find(key);
    return found == tokenizer.end() ? nullptr : part_of_type(*found, type);
  };
  if (const Value* table = part("normalizer", "Precompiled")) {
    const std::string bytes = tokenizers::from_base64(
        json::require<std::string>(*table, "precompiled_charsmap", kWhere), kWhere);
    metadata["tokenizer.ggml.precompiled_charsmap"] =
        Value::binary(std::vector<std::uint8_t>(bytes.begin(), bytes.end()));
  }
  const Value* marks = part("pre_tokenizer", "Metaspace");
  metadata["tokenizer.ggml.add_space_prefix"] =
      marks != nullptr &&
      json::get_or<bool>(
          *marks,
          "add_prefix_space",
          json::get_or<std::string>(*marks, "prepend_scheme", "always", kWhere) != "never",
          kWhere);
  metadata["tokenizer.ggml.remove_extra_whitespaces"] = true;
  constexpr double kNever = -10000.0;
  if (out.scores.size() != out.types.size()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[tokenizer.json] expected a Unigram vocabulary of {} pieces with "
                            "scores, found {} scores",
                            out.types.size(),
                            out.scores.size()));
  }
  for (std::size_t i = 0; i < out.types.size(); ++i) {
    if (out.types[i] == kUnused) out.scores[i] = kNever;
  }
  const auto unknown = json::get_or<std::int64_t>(model, "unk_id", -1, kWhere);
  if (unknown < 0 || unknown >= static_cast<std::int64_t>(out.types.size())) return;
  metadata["tokenizer.ggml.unknown_token_id"] = unknown;
  out.types[static_cast<std::size_t>(unknown)] = kUnknown;
}

void put_template(const fs::path& folder, const Value& settings, Value& metadata) {
  std::error_code ignored;
  if (fs::is_regular_file(folder / "chat_template.jinja", ignored)) {
    metadata["tokenizer.chat_template"] =
        read_file(folder / "chat_template.jinja", std::size_t{1} << 20);
  } else if (settings.is_object() && settings.contains("chat_template") &&
             settings["chat_template"].is_string()) {
    metadata["tokenizer.chat_template"] = settings["chat_template"];
  }
}

/// What tokenizers disagree about when a rule is lost: spaces and lines, case and accents, digits, marks, other scripts.
/// Letters and their accents are composed, as in nearly all texts: that Qwen composes the others (NFC) no GGUF file says.
constexpr std::string_view kProbes[] = {
    "The quick brown fox can't jump over 12345 lazy dogs, or DOESN'T it?",
    " one two  three   four\tfive\n\nsix \r\n seven ",
    "x_1 = a[i] + 3.14; // camelCase, $1,000.00 & 50% of #tags <b>",
    "Съешь же ещё этих мягких французских БУЛОК",
    "na\u00efve caf\u00e9 \u00c5 \u0130 \ufb01 \u2460 \u00bd \u00df \u2026 \u00a0 \u200b "
    "\u201cx\u201d",
    "日本語と中文, 한국어, हिन्दी, العربية, ไทย",
    "\U0001F600\U0001F44D\U0001F3FD \u2764\ufe0f"};

/// Rules of a tokenizer.json that GGUF has no key for show in the tokens: the first text of which tokens differ, and how.
std::string difference_of_tokens(const fs::path& folder, const Value& metadata) {
  // Elsewhere tokenizer_config.json may say otherwise than tokenizer.json, and readers believe it.
  const bool around = metadata["tokenizer.ggml.model"] == "bert";
  const Tokenizer ours = Tokenizer::load(folder / "tokenizer.json");
  const Tokenizer theirs = Tokenizer::from_gguf(metadata, "gguf");
  for (const std::string_view text : kProbes) {
    const Encoding right = ours.encode(text, around);
    const Encoding found = theirs.encode(text, around);
    const auto [a, b] = std::ranges::mismatch(right.ids, found.ids);
    if (a == right.ids.end() && b == found.ids.end()) continue;
    const auto said = [&](const Encoding& all, auto at) {
      return at == all.ids.end()
                 ? std::string("no more token")
                 : json::quote(all.tokens[static_cast<std::size_t>(at - all.ids.begin())]);
    };
    return fmt::format("of {} token {} becomes {} instead of {}",
                       json::quote(std::string(text)),
                       a - right.ids.begin(),
                       said(found, b),
                       said(right, a));
  }
  return "";
}

}  // namespace

std::string put_gguf_tokenizer(const fs::path& folder,
                               const Value& config,
                               std::int64_t vocabulary,
                               Value& metadata) {
  const Value tokenizer = read_json(folder / "tokenizer.json");
  if (tokenizer.is_null()) {
    metadata["tokenizer.ggml.model"] = "no_vocab";
    return "";
  }
  const Value settings = read_json(folder / "tokenizer_config.json");
  const Value* model = json::find(tokenizer, "model", kWhere);
  if (model == nullptr)
    throw Error(ErrorCode::kFormat, "[tokenizer.json] expected a model, found none");
  const auto size = static_cast<std::size_t>(vocabulary);
  Vocabulary out;
  out.types.assign(size, kUnused);
  for (std::size_t i = 0; i < size; ++i) out.tokens.push_back(fmt::format("[PAD{}]", i));
  put_vocabulary(*model, out);
  put_added(tokenizer, out);
  const std::string type = json::get_or<std::string>(
      *model, "type", model->contains("merges") ? "BPE" : "WordPiece", kWhere);
  if (type == "BPE" && json::get_or<bool>(*model, "byte_fallback", false, kWhere)) {
    metadata["tokenizer.ggml.model"] = "llama";
    for (std::size_t i = 0; i < size; ++i) {
      if (out.types[i] == kNormal && is_byte(out.tokens[i])) out.types[i] = kByte;
    }
    score_by_merges(merges_of(*model), out);
    const auto unknown = json::get_or<std::string>(*model, "unk_token", "", kWhere);
    for (std::size_t i = 0; i < size; ++i) {
      if (!unknown.empty() && out.tokens[i] == unknown) out.types[i] = kUnknown;
    }
    metadata["tokenizer.ggml.add_space_prefix"] =
        tokenizer.contains("normalizer") &&
        part_of_type(tokenizer["normalizer"], "Prepend") != nullptr;
  } else if (type == "BPE") {
    metadata["tokenizer.ggml.model"] = "gpt2";
    metadata["tokenizer.ggml.pre"] = pre_tokenizer_name(tokenizer, *model);
    metadata["tokenizer.ggml.merges"] = merges_of(*model);
  } else if (type == "WordPiece") {
    metadata["tokenizer.ggml.model"] = "bert";
    metadata["tokenizer.ggml.token_type_count"] =
        json::get_or<std::int64_t>(config, "type_vocab_size", 2, "config.json");
    mark_starts(out);
  } else if (type == "Unigram") {
    metadata["tokenizer.ggml.model"] = "t5";
    put_unigram(tokenizer, *model, out, metadata);
  } else {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[tokenizer.json] expected BPE, WordPiece or Unigram, found {}",
                            json::quote(type)));
  }
  put_special(config, settings, out, metadata);
  if (type == "WordPiece") put_bert_tokens(*model, out, metadata);
  if (type != "WordPiece") put_around(tokenizer, out, metadata);
  put_template(folder, settings, metadata);
  metadata["tokenizer.ggml.tokens"] = std::move(out.tokens);
  metadata["tokenizer.ggml.token_type"] = std::move(out.types);
  if (!out.scores.empty()) metadata["tokenizer.ggml.scores"] = std::move(out.scores);
  std::string difference = difference_of_tokens(folder, metadata);
  // What GGUF calls bert has BERT's own rules for case and accents, whatever the model's are.
  if (difference.empty() || type == "WordPiece") return difference;
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[convert] expected a tokenizer that GGUF can describe, found rules that "
                          "it has no key for: {}",
                          difference));
}

}  // namespace headscope::models
