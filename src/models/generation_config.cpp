#include "models/generation_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "headscope/safetensors.h"

namespace headscope::models {

namespace {

namespace fs = std::filesystem;
using json::Value;

constexpr std::size_t kMostBytes = std::size_t{16} << 20;

std::optional<std::string> text_in(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return std::nullopt;
  return read_file(path, kMostBytes);
}

std::optional<Value> json_in(const fs::path& path) {
  const auto text = text_in(path);
  if (!text) return std::nullopt;
  return json::parse(*text, path.filename().string());
}

// A token as tokenizer_config.json gives it: its text, or an object that holds it.
std::string token_text(const Value& config, const char* key, std::string_view where) {
  const Value* token = json::find(config, key, where);
  if (token == nullptr) return "";
  if (token->is_object()) return json::get_or<std::string>(*token, "content", "", where);
  return json::as<std::string>(*token, key, where);
}

// An id, or a list of them.
void add_ids(const Value& config,
             const char* key,
             std::string_view where,
             std::vector<std::int32_t>& to) {
  const Value* ids = json::find(config, key, where);
  if (ids == nullptr) return;
  const auto add = [&](const Value& one) {
    const auto id = json::as<std::int32_t>(one, key, where);
    if (id < 0) return;  // as some files say "none"
    if (std::find(to.begin(), to.end(), id) == to.end()) to.push_back(id);
  };
  if (!ids->is_array()) {
    add(*ids);
    return;
  }
  for (const Value& one : *ids) add(one);
}

// How answers of encoder-decoders begin and what never comes, from the file that says something of it.
void read_answers(const Value& config, std::string_view where, GenerationConfig& to) {
  if (to.begin.empty()) {
    add_ids(config, "decoder_start_token_id", where, to.begin);
    if (!to.begin.empty()) {
      std::vector<std::int32_t> forced;
      add_ids(config, "forced_bos_token_id", where, forced);
      to.begin.insert(to.begin.end(), forced.begin(), forced.end());
    }
  }
  if (to.never.empty()) {
    add_ids(config, "suppress_tokens", where, to.never);
    if (const Value* words = json::find(config, "bad_words_ids", where);
        words != nullptr && words->is_array()) {
      for (const Value& word : *words) {
        if (word.is_array() && word.size() == 1)
          to.never.push_back(json::as<std::int32_t>(word.front(), "bad_words_ids", where));
      }
    }
  }
  if (to.never_first.empty()) add_ids(config, "begin_suppress_tokens", where, to.never_first);
}

// Tokens that end a turn, whatever the file calls its end: special ones of these spellings, or all where the file has
// no types. Where answers are messages that <|return|> or <|call|> end, <|end|> only ends a part of one.
void add_ends_of_turns(const Value& metadata,
                       std::string_view where,
                       std::vector<std::int32_t>& to) {
  constexpr std::string_view kEnds[] = {"<|im_end|>",
                                        "<|eot_id|>",
                                        "<|eom_id|>",
                                        "<end_of_turn>",
                                        "<|endoftext|>",
                                        "<|end_of_text|>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<EOT>",
                                        "<|end|>"};
  constexpr std::int64_t kControl = 3;
  constexpr std::int64_t kUserDefined = 4;  // older converters' word for it
  const Value* tokens = json::find(metadata, "tokenizer.ggml.tokens", where);
  const Value* types = json::find(metadata, "tokenizer.ggml.token_type", where);
  if (tokens == nullptr || !tokens->is_array()) return;
  const auto special = [&](std::size_t id) {
    if (types == nullptr || !types->is_array()) return true;
    if (id >= types->size() || !(*types)[id].is_number_integer()) return false;
    const auto type = (*types)[id].get<std::int64_t>();
    return type == kControl || type == kUserDefined;
  };
  std::int32_t end = -1;
  bool messages = false;
  for (std::size_t id = 0; id < tokens->size(); ++id) {
    const Value& token = (*tokens)[id];
    if (!token.is_string() || !special(id)) continue;
    const auto& spelling = token.get_ref<const std::string&>();
    if (std::find(std::begin(kEnds), std::end(kEnds), spelling) == std::end(kEnds)) continue;
    const auto own = static_cast<std::int32_t>(id);
    messages = messages || spelling == "<|return|>" || spelling == "<|call|>";
    if (spelling == "<|end|>")
      end = own;
    else if (std::find(to.begin(), to.end(), own) == to.end())
      to.push_back(own);
  }
  if (end >= 0 && !messages && std::find(to.begin(), to.end(), end) == to.end()) to.push_back(end);
}

// The template itself, or the one called "default" of a list of named ones.
std::string template_in(const Value& config, std::string_view where) {
  const Value* found = json::find(config, "chat_template", where);
  if (found == nullptr) return "";
  if (!found->is_array()) return json::as<std::string>(*found, "chat_template", where);
  for (const Value& one : *found) {
    if (json::get_or<std::string>(one, "name", "", where) == "default")
      return json::require<std::string>(one, "template", where);
  }
  return "";
}

}  // namespace

GenerationConfig generation_config_in(const fs::path& folder, const Value& config) {
  GenerationConfig out;
  if (const auto own = json_in(folder / "generation_config.json")) {
    add_ids(*own, "eos_token_id", "generation_config.json", out.stop_ids);
    read_answers(*own, "generation_config.json", out);
  }
  if (out.stop_ids.empty()) add_ids(config, "eos_token_id", "config.json", out.stop_ids);
  read_answers(config, "config.json", out);
  if (const auto tokens = json_in(folder / "tokenizer_config.json")) {
    constexpr std::string_view kWhere = "tokenizer_config.json";
    out.bos_token = token_text(*tokens, "bos_token", kWhere);
    out.eos_token = token_text(*tokens, "eos_token", kWhere);
    out.chat_template = template_in(*tokens, kWhere);
  }
  if (const auto map = json_in(folder / "special_tokens_map.json")) {
    constexpr std::string_view kWhere = "special_tokens_map.json";
    if (out.bos_token.empty()) out.bos_token = token_text(*map, "bos_token", kWhere);
    if (out.eos_token.empty()) out.eos_token = token_text(*map, "eos_token", kWhere);
  }
  if (const auto text = text_in(folder / "chat_template.jinja")) out.chat_template = *text;
  return out;
}

void join_tokenizer(const Tokenizer& tokenizer, std::int64_t vocabulary, GenerationConfig& to) {
  for (const std::string& spelling : {to.bos_token, to.eos_token}) {
    if (spelling.empty() || tokenizer.id_of(spelling) >= 0) continue;
    throw Error(ErrorCode::kFormat,
                fmt::format("[model] expected a tokenizer that knows {}, with which this model's "
                            "texts begin or end, found none such: of another model?",
                            json::quote(spelling)));
  }
  if (!to.eos_token.empty()) {
    const std::int32_t end = tokenizer.id_of(to.eos_token);
    if (std::find(to.stop_ids.begin(), to.stop_ids.end(), end) == to.stop_ids.end())
      to.stop_ids.push_back(end);
  }
  if (tokenizer.vocabulary_size() >= vocabulary) return;
  for (std::int32_t id = 0; id < vocabulary; ++id) {
    try {
      (void)tokenizer.token_of(id);
    } catch (const Error&) {  // the embeddings are padded, or the ids have gaps
      to.never.push_back(id);
    }
  }
}

GenerationConfig generation_config_from_gguf(const Value& metadata) {
  constexpr std::string_view kWhere = "gguf";
  GenerationConfig out;
  for (const char* key : {"tokenizer.ggml.eos_token_id",
                          "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"})
    add_ids(metadata, key, kWhere, out.stop_ids);
  add_ends_of_turns(metadata, kWhere, out.stop_ids);
  out.chat_template = json::get_or<std::string>(metadata, "tokenizer.chat_template", "", kWhere);
  const Value* tokens = json::find(metadata, "tokenizer.ggml.tokens", kWhere);
  const auto spelled = [&](const char* key) -> std::string {
    const auto id = json::get_or<std::int64_t>(metadata, key, -1, kWhere);
    if (tokens == nullptr || !tokens->is_array() || id < 0 ||
        id >= static_cast<std::int64_t>(tokens->size()))
      return "";
    const Value& token = (*tokens)[static_cast<std::size_t>(id)];
    return token.is_string() ? token.get<std::string>() : "";
  };
  out.bos_token = spelled("tokenizer.ggml.bos_token_id");
  out.eos_token = spelled("tokenizer.ggml.eos_token_id");
  return out;
}

}  // namespace headscope::models
