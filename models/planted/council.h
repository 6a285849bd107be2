#pragma once

#include <string>
#include <vector>

#include "lexicon.h"

namespace headscope::planted {

inline constexpr std::size_t kHeads = 8;
inline constexpr std::size_t kHeadWidth = 96;
inline constexpr std::size_t kWidth = kHeads * kHeadWidth;
inline constexpr std::size_t kPositions = 128;

/// A matrix [rows, columns] of what will be rounded to f16.
struct Matrix {
  Matrix(std::size_t r, std::size_t c) : rows(r), columns(c), values(r * c, 0.0) {}
  double& operator()(std::size_t r, std::size_t c) { return values[r * columns + c]; }
  double operator()(std::size_t r, std::size_t c) const { return values[r * columns + c]; }
  std::size_t rows, columns;
  std::vector<double> values;
};

/// A linear layer as BERT keeps it: out = weight * x + bias, weight [out,in].
struct Linear {
  Matrix weight{kWidth, kWidth};
  std::vector<double> bias = std::vector<double>(kWidth, 0.0);
};

/// What a head is, for people: becomes an entry of roles.json.
struct Name {
  std::string letter, shape, en, ru;
};

/// All numbers of the model that are not 0.
struct Council {
  explicit Council(std::size_t vocabulary) : words(vocabulary, kWidth) {}
  Matrix words;                          ///< [V,C]
  Matrix positions{kPositions, kWidth};  ///< [128,C]
  double embedding_scale = 0.0;          ///< every weight of the norm after the embeddings
  double block_scale = 0.0;              ///< every weight of the two norms of the layer
  Linear query, key, value, output;
  std::vector<Name> names;  ///< one a head
};

/// The council of eight over these words.
/// Errors: kResources when there are more words than codes (2576).
Council plant(const std::vector<Word>& words);

}  // namespace headscope::planted
