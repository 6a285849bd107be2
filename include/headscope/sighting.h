#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "headscope/attention.h"
#include "headscope/scene.h"
#include "headscope/sequence.h"

namespace headscope {

/// Which of two ways a mip level was pooled.
enum class Pool { kMean, kMax };

/// Everything recorded of one run: one FocusRecord a layer, and what the tokens were.
/// Answers rows, tiles and maps exactly, from q, k and lse, in O(D) a weight; T x T maps are never
/// stored.
struct Sighting {
  std::string model;          ///< name of the model
  std::string text;           ///< the input as given
  std::vector<Label> labels;  ///< [T]
  std::vector<FocusRecord> layers;
  Scene scene;  ///< what the labels lie in, when that is no text
  /// Of layers that look at parts of a picture apart (windows, frames) or at a coarser grid: what the keys of all B
  /// sequences are, one sequence behind the other. No such layer, or empty: as labels.
  std::vector<std::vector<Label>> layer_labels;

  /// Of an encoder-decoder: what the decoder said, and how many layers the encoder and the decoder have. The
  /// decoder's rows are these tokens; its cross attention asks the labels above.
  std::vector<Label> answer;
  int encoder_layers = 0;
  int decoder_layers = 0;
  /// What the rows and the keys of a layer are.
  [[nodiscard]] const std::vector<Label>& row_labels(int layer) const {
    return encoder_layers > 0 && layer >= encoder_layers ? answer : labels;
  }
  [[nodiscard]] const std::vector<Label>& key_labels(int layer) const {
    const bool own = layer >= encoder_layers && layer < encoder_layers + decoder_layers;
    return own ? answer : labels;
  }

  /// What key j of sequence b is; nullptr where nobody said.
  [[nodiscard]] const Label* key_label(int layer, std::int64_t b, std::int64_t j) const;
  /// Where the light of one row falls in a picture or video: its weights, each in its patch; without a row the mean
  /// over all rows. Shapes  [frames,rows,columns]; what falls on [CLS] and its like is left out.
  /// Errors: as row; kUsage when the labels lie in no picture.
  [[nodiscard]] Tensor light(int layer,
                             int head,
                             std::optional<std::int64_t> i = {},
                             std::int64_t b = 0) const;

  /// Side of a tile.
  static constexpr std::int64_t kTile = 256;

  /// Weights of row i, [Tk]. Errors: kRange (names the limits), kUsage when q and k were not kept.
  [[nodiscard]] Tensor row(int layer, int head, std::int64_t i, std::int64_t b = 0) const;
  /// A 256 x 256 tile (smaller at the edges) of mip level `level`: each cell pools 2^level x
  /// 2^level weights by mean or max (cells cut short at the edge pool what is there); level 0 is
  /// the map itself. Shapes  [<=256,<=256]; x counts tiles to the right (keys), y down (rows). Cost
  /// 2*D*(256*2^level)^2 flop. Errors: kRange.
  [[nodiscard]] Tensor tile(int layer,
                            int head,
                            int level,
                            std::int64_t x,
                            std::int64_t y,
                            Pool pool = Pool::kMean,
                            std::int64_t b = 0) const;
  /// The whole map [Tq,Tk]. Errors: kResources when it has more than 2^26 cells: ask for tiles.
  [[nodiscard]] Tensor map(int layer, int head, std::int64_t b = 0) const;
  /// The map between words: a word's row is the mean over its pieces, its column their sum
  /// (heads.md). Special tokens are words of their own, in place. Shapes [W,W]. Errors: as map.
  [[nodiscard]] Tensor word_map(int layer, int head, std::int64_t b = 0) const;
  /// Words in the order of word_map: text, and first and last token.
  struct Word {
    std::string text;
    std::int64_t first = 0;
    std::int64_t last = 0;  ///< inclusive
    bool special = false;
  };
  [[nodiscard]] std::vector<Word> words() const;

  /// A .sight file: safetensors with the description as JSON in its metadata ("headscope.sight").
  /// Tensors are named "LAYER.entropy", "LAYER.q", ... Written whole or not at all. Errors: kIo.
  void save(const std::filesystem::path& path) const;
  /// Errors: kNotFound, kFormat (says what is missing or does not fit).
  static Sighting load(const std::filesystem::path& path);
};

}  // namespace headscope
