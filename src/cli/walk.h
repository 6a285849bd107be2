#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/measures.h"
#include "cli/screen.h"
#include "headscope/attention.h"

/// `headscope walk`: the five steps of one layer with the real numbers of one row.
namespace headscope::cli {

/// The numbers of one row of one head, apart from any model, so that tests can make one by hand.
struct Walked {
  std::string model;
  std::string text;
  HeadId head;
  std::string role;  ///< "" when the head has none
  std::int64_t row = 0;
  std::vector<Label> labels;       ///< [T]
  std::vector<std::string> names;  ///< [T] the labels as a screen shows them, in few columns
  std::string row_name;            ///< the row's in full
  std::int64_t heads = 0, groups = 0, width = 0, value_width = 0, model_width = 0;
  double scale = 0.0;
  bool bent = false;  ///< scores are more than scale * q.k: a bias, slopes or a soft-cap
  std::vector<float> x, q, k, v, z;    ///< [C], [D], [D], [Dv], [Dv] of the row
  std::vector<float> scores, weights;  ///< [T]; weights are 0 where the row may not look
  double lse = 0.0;                    ///< nats
  std::vector<double> findings;        ///< [H] length of z_h
  std::vector<double> contributions;   ///< [H] length of z_h W_O^h
  std::vector<float> out;              ///< [C]
  double error = 0.0;                  ///< law 1 over all rows: largest error over largest output
};

/// Takes the row's numbers out of a trace and its contributions; names are in `lang`.
Walked walk_row(Lang lang,
                const Sighting& sighting,
                const AttentionTrace& trace,
                const Tensor& by_head,
                double error,
                HeadId head,
                std::int64_t row);

/// Five numbered cards. Lines end in '\n' and keep to screen.width columns.
std::string render_walk(const Screen& screen, const Walked& walked);
std::string walk_json(const Walked& walked);

/// The token that --row means: its number, or the first token of the first word that reads so. Of an
/// input that is no text the one whose label, long or short, in either language, it is, or whose row
/// of a table. `verb` is who asks. Errors: kRange naming the limits, or the tokens when they are
/// several.
std::int64_t find_row(const Screen& screen,
                      const Sighting& sighting,
                      const std::string& word,
                      std::string_view verb = "see");

int walk(std::span<const std::string> arguments, Lang lang, std::string& out);

}  // namespace headscope::cli
