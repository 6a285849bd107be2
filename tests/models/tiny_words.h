#pragma once

#include <string>

#include "formats/json.h"
#include "formats/scratch.h"
#include "headscope/safetensors.h"

namespace headscope::test {

/// A tokenizer beside a model of that many tokens, whose words are w0, w1, ... Returns the folder.
inline std::string with_words(const Scratch& folder, int vocabulary) {
  json::Value vocab = json::Value::object();
  for (int id = 0; id < vocabulary; ++id) vocab["w" + std::to_string(id)] = id;
  const json::Value tokenizer = {
      {"version", "1.0"},
      {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
      {"model", {{"type", "WordLevel"}, {"vocab", vocab}, {"unk_token", "w0"}}}};
  write_file(folder / "tokenizer.json", tokenizer.dump());
  return folder.path().string();
}

}  // namespace headscope::test
