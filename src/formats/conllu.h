#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

/// Treebanks of Universal Dependencies.
namespace headscope::conllu {

/// A syntactic word.
struct Word {
  std::string form;
  std::string part_of_speech;  ///< UPOS: "NOUN"
  std::string features;        ///< FEATS as written: "Case=Nom|Number=Sing", or ""
  std::int32_t head = -1;      ///< index into Sentence::words, -1 for the root
  std::string relation;        ///< to its head, with its subtype: "nsubj:pass"
  /// Where it stands in Sentence::text, in bytes. Words of one written token that do not put together its letters
  /// ("wanna": want, to) all stand where it does.
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct Sentence {
  std::string id;    ///< sent_id, or its number in the file from 1
  std::string text;  ///< put together from the written tokens and SpaceAfter=No
  std::vector<Word> words;
};

/// A .conllu file, also packed by xz. Empty nodes (8.1) and enhanced dependencies are left out.
/// Errors: those of read_text, and kFormat with the number of the line.
/// Source: https://universaldependencies.org/format.html
std::vector<Sentence> load(const std::filesystem::path& path);
std::vector<Sentence> parse(std::string_view text, std::string_view name);

/// "nsubj" of "nsubj:pass".
std::string_view without_subtype(std::string_view relation);

}  // namespace headscope::conllu
