#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
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

/// Whether a file of this name is a treebank: .conllu, .conllu.xz.
bool is_treebank(std::string_view name);

/// A .conllu file, also packed by xz. Empty nodes (8.1) and enhanced dependencies are left out.
/// Errors: those of read_text, and kFormat with the number of the line.
/// Source: https://universaldependencies.org/format.html
std::vector<Sentence> load(const std::filesystem::path& path);
std::vector<Sentence> parse(std::string_view text, std::string_view name);

/// "nsubj" of "nsubj:pass".
std::string_view without_subtype(std::string_view relation);

/// Words of a sentence, by number, that a relation ties.
struct Edge {
  std::int32_t dependent = 0;
  std::int32_t head = 0;  ///< for a pair "a>b": the second dependent
};

/// The edges of one relation ("nsubj" also takes "nsubj:pass"; "nsubj:pass" that alone), or for "a>b" the pairs of
/// dependents of one head.
std::vector<Edge> edges(const Sentence& sentence, std::string_view relation);

/// For every token the word that it is a piece of, the first that it overlaps; -1 for none. `ranges`: where each
/// token stands in the sentence's text, in rising order; [0,0) for a special one.
struct Range {
  std::size_t begin = 0, end = 0;
};
std::vector<std::int32_t> words_of(const Sentence& sentence, std::span<const Range> ranges);

}  // namespace headscope::conllu
