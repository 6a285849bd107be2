#include "tokenizers/tokenizer_file.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

#include "headscope/error.h"

namespace headscope::tokenizers {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

json::Value convert(const element& value) {
  switch (value.type()) {
    case element_type::ARRAY: {
      json::Value out = json::Value::array();
      for (const element one : value.get_array()) out.push_back(convert(one));
      return out;
    }
    case element_type::OBJECT: {
      json::Value out = json::Value::object();
      for (const auto field : value.get_object())
        out[std::string(field.key)] = convert(field.value);
      return out;
    }
    case element_type::INT64:
      return value.get_int64().value();
    case element_type::UINT64:
      return value.get_uint64().value();
    case element_type::DOUBLE:
      return value.get_double().value();
    case element_type::STRING:
      return std::string(value.get_string().value());
    case element_type::BOOL:
      return value.get_bool().value();
    case element_type::NULL_VALUE:
      break;
  }
  return nullptr;
}

Error wrong(std::string_view what,
            std::string_view expected,
            const element& found,
            std::string_view where) {
  return {ErrorCode::kFormat,
          fmt::format("[{}] expected {} to be {}, found {}",
                      where,
                      what,
                      expected,
                      json::describe(convert(found)))};
}

std::vector<TokenEntry> read_ids(const simdjson::dom::object& object, std::string_view where) {
  std::vector<TokenEntry> out;
  out.reserve(object.size());
  for (const auto field : object) {
    std::int64_t id = 0;
    if (field.value.get(id) != simdjson::SUCCESS) {
      throw wrong(json::quote(field.key), "an integer", field.value, where);
    }
    out.push_back({field.key, id, 0});
  }
  return out;
}

/// A score as the JSON parser behind Hugging Face tokenizers reads it: the digits as an integer,
/// times or by a power of ten, which is not always the nearest number. Sums of scores tie often
/// ("oo" + "oooo"), and then the last bit decides.
double rounded_twice(double score) {
  std::array<char, 40> text{};
  const auto end = std::to_chars(
      text.data(), text.data() + text.size(), std::abs(score), std::chars_format::scientific);
  std::uint64_t digits = 0;
  int exponent = 0;
  const char* at = text.data();
  for (bool fraction = false; at < end.ptr && *at != 'e'; ++at) {
    if (*at == '.') {
      fraction = true;
      continue;
    }
    digits = digits * 10 + static_cast<std::uint64_t>(*at - '0');
    exponent -= fraction ? 1 : 0;
  }
  if (at == end.ptr) return score;  // not finite
  int scale = 0;
  at += at[1] == '+' ? 2 : 1;
  std::from_chars(at, end.ptr, scale);
  exponent += scale;
  if (exponent < -22 || exponent > 22) return score;
  double power = 1;
  for (int i = 0; i < std::abs(exponent); ++i) power *= 10;
  const auto whole = static_cast<double>(digits);
  return std::copysign(exponent < 0 ? whole / power : whole * power, score);
}

std::vector<TokenEntry> read_scores(const simdjson::dom::array& array, std::string_view where) {
  std::vector<TokenEntry> out;
  out.reserve(array.size());
  for (const element pair : array) {
    TokenEntry entry{{}, static_cast<std::int64_t>(out.size()), 0};
    simdjson::dom::array parts;
    if (pair.get(parts) != simdjson::SUCCESS || parts.size() != 2 ||
        parts.at(0).get(entry.token) != simdjson::SUCCESS ||
        parts.at(1).get(entry.score) != simdjson::SUCCESS) {
      throw wrong(fmt::format("model.vocab[{}]", out.size()), "[token, score]", pair, where);
    }
    entry.score = rounded_twice(entry.score);
    out.push_back(entry);
  }
  return out;
}

/// Published in two ways: "left right", and ["left", "right"].
std::vector<ModelParts::Merge> read_merges(const element& list, std::string_view where) {
  simdjson::dom::array array;
  if (list.get(array) != simdjson::SUCCESS) {
    throw wrong("\"merges\"", "an array", list, where);
  }
  std::vector<ModelParts::Merge> out;
  out.reserve(array.size());
  for (const element one : array) {
    ModelParts::Merge merge;
    std::string_view line;
    simdjson::dom::array pair;
    bool good = false;
    if (one.get(line) == simdjson::SUCCESS) {
      if (line.starts_with("#version")) continue;
      const std::size_t space = line.find(' ');
      good = space != line.npos && line.find(' ', space + 1) == line.npos;
      if (good) merge = {line.substr(0, space), line.substr(space + 1), 0};
    } else if (one.get(pair) == simdjson::SUCCESS) {
      good = pair.size() == 2 && pair.at(0).get(merge.left) == simdjson::SUCCESS &&
             pair.at(1).get(merge.right) == simdjson::SUCCESS;
    }
    if (!good) throw wrong(fmt::format("merge {}", out.size()), "two tokens", one, where);
    merge.rank = static_cast<std::uint32_t>(out.size());
    out.push_back(merge);
  }
  return out;
}

}  // namespace

struct TokenizerFile::Document {
  simdjson::dom::parser parser;
  element model;
};

TokenizerFile::TokenizerFile(std::string_view text, std::string_view name)
    : document_(std::make_unique<Document>()), name_(name) {
  const json::Limits limits;
  element root;
  auto error = text.size() > limits.bytes ? simdjson::CAPACITY : simdjson::SUCCESS;
  if (!error) error = document_->parser.allocate(text.size() + 1, limits.depth);
  if (!error) error = document_->parser.parse(text.data(), text.size()).get(root);
  if (error) {
    // says what is wrong with it, and where
    root_ = json::parse(text, name);
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected JSON, found: {}", name, simdjson::error_message(error)));
  }
  if (!root.is_object()) {
    root_ = convert(root);
    return;
  }
  root_ = json::Value::object();
  for (const auto field : root.get_object()) {
    if (field.key == "model") {
      has_model_ = !field.value.is_null();
      document_->model = field.value;
    } else {
      root_[std::string(field.key)] = convert(field.value);
    }
  }
  if (has_model_) read_model(name);
}

TokenizerFile::~TokenizerFile() = default;

const ModelParts& TokenizerFile::model() const {
  if (has_model_) return model_;
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected \"model\", found nothing under that key", name_));
}

void TokenizerFile::read_model(std::string_view name) {
  simdjson::dom::object object;
  if (document_->model.get(object) != simdjson::SUCCESS) {
    throw wrong("\"model\"", "an object", document_->model, name);
  }
  model_.options = json::Value::object();
  for (const auto field : object) {
    if (field.key == "merges" && !field.value.is_null()) {
      model_.merges = read_merges(field.value, name);
    } else if (field.key == "vocab" && field.value.is_object()) {
      model_.vocab = read_ids(field.value.get_object(), name);
      model_.scored = false;
    } else if (field.key == "vocab" && field.value.is_array()) {
      model_.vocab = read_scores(field.value.get_array(), name);
      model_.scored = true;
    } else if (field.key == "vocab") {
      throw wrong("model.vocab", "an object or an array", field.value, name);
    } else {
      model_.options[std::string(field.key)] = convert(field.value);
    }
  }
}

}  // namespace headscope::tokenizers
