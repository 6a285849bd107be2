#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/json_writer.h"
#include "cli/progress.h"
#include "doctor/baseline.h"
#include "doctor/roles.h"
#include "doctor/syntax.h"

/// `headscope doctor`: which head does what, and which one is to blame.
namespace headscope::cli {

/// Texts in pieces of at most about 1000 bytes that end at a line, else at a word.
struct Corpus {
  std::string name;                     ///< of the file, or what built-in sentences are called
  std::vector<Tokens> pieces;           ///< one sequence each
  std::size_t all = 0;                  ///< pieces there were before --pieces
  std::int64_t tokens = 0;              ///< in pieces
  std::vector<conllu::Sentence> trees;  ///< all sentences, where the file is a treebank
  std::string text;                     ///< of the file, or of its sentences; "" : built-in
  std::string treebank;                 ///< the file itself, unpacked, where it is one
  /// "corpus.txt, the first 32 pieces of 410"
  [[nodiscard]] std::string about(Lang lang) const;
};
/// The file (of a .conllu, also packed by xz, the text of its sentences), or built-in sentences for "": those in words
/// that the model knows, if there are any.
/// Errors: kNotFound, kIo, kInput (no text in it), kUnsupported (the model reads pictures alone).
Corpus read_corpus(const Call& call,
                   const Model& model,
                   const std::string& file,
                   std::int64_t most);

/// What a model is loaded for.
enum class Purpose {
  kLook,  ///< once over some texts
  kSweep,  ///< many times: small models (up to 500 M parameters) have their matrices widened and packed
  kCheck,  ///< once, and weights that are no numbers are welcome
};
/// The one model that is named, loaded with progress. Errors: kUsage.
Model load_model(const Call& call, std::span<const std::string> words, Purpose purpose);

/// --heal FILE and --steps N.
struct HealWish {
  std::string file, steps;
};
/// The text as tokens, before anything long is begun. Errors: those of read_file, of the tokenizer and of
/// doctor::check_healable; kInput for fewer than two tokens.
std::vector<std::int32_t> read_heal(const Call& call, const Model& model, const HealWish& wish);
struct Healed {
  std::int64_t steps = 0;
  std::string text;   ///< the file's name
  double loss = 0.0;  ///< afterwards
};
/// Trains the folder that was just written on that text, and judges it by `texts` afterwards.
/// Errors: those of doctor::heal.
Healed heal_folder(const Call& call,
                   const std::string& folder,
                   const HealWish& wish,
                   std::span<const std::int32_t> ids,
                   std::span<const Tokens> texts);
/// A folder that a call makes: gone again unless it is kept.
class MadeFolder {
 public:
  explicit MadeFolder(std::string path) : path_(std::move(path)) {}
  MadeFolder(const MadeFolder&) = delete;
  MadeFolder& operator=(const MadeFolder&) = delete;
  ~MadeFolder();
  void keep() { path_.clear(); }

 private:
  std::string path_;
};
/// Before the model is loaded. Errors: kUsage (--steps without --heal), kNotFound.
void check_heal(const Call& call, const HealWish& wish);
std::int64_t heal_steps(const Call& call, const HealWish& wish);

/// The one token of this model that a text is. Errors: kUsage when it is several or none: shows them.
std::int32_t one_token(const Call& call,
                       const Model& model,
                       std::string_view option,
                       const std::string& text);

/// Shows what is done with the time that is left.
doctor::Told telling(Progress& progress, const Call& call, Word what);

/// Names of heads in a line, as many as fit: "16.0 .86  1.2 .76".
struct Scored {
  doctor::HeadId head;
  double score = 0.0;
};
std::string heads_line(std::vector<Scored> heads, int width);

/// Text as HTML shows it.
std::string html(std::string_view text);
/// A page with all heads as a grid, coloured by measure.
std::string roles_page(const Model& model,
                       const Corpus& corpus,
                       std::span<const doctor::HeadRoles> roles,
                       const doctor::Syntax& syntax,
                       Lang lang);
/// What every head does along the trees of a treebank; nothing of another corpus. Shows progress.
doctor::Syntax follow_trees(const Call& call, const Model& model, const Corpus& corpus);
/// Whether trees were followed by this head: of two stacks those of the one that writes are left out.
bool seen_by(const doctor::Syntax& syntax, doctor::HeadId head);
/// What a head does along one relation of trees.
struct TreeShown {
  std::string key;   ///< "nsubj back": in JSON
  std::string name;  ///< "nsubj, to its dependent"
  double score = 0.0, baseline = 0.0, off_offset = 0.0;
  std::int64_t n = 0;
  std::int32_t offset = 0;
  bool label = false;
};
/// Along every relation that the trees have. Nothing of a head that did not follow them.
std::vector<TreeShown> along_trees(const doctor::Syntax& syntax, doctor::HeadId head, Lang lang);
/// The fields "labels" and "scores" of a head.
void put_scores(JsonWriter& json, const doctor::HeadRoles& head, std::span<const TreeShown> trees);
/// "amod, to its head"
std::string relation_name(const doctor::Edges& edges, Lang lang);
Word word_of(doctor::Measure measure);

/// Whether a model's tokens are notes, numbers or patches of videos.
bool reads_sequences(const Model& model);
struct SequenceRolesWishes {
  std::string data;   ///< a file; videos need none
  std::string roles;  ///< roles.json to write; "" : none
  std::vector<std::string> columns;
  std::size_t pieces = 32;
  std::uint64_t seed = 1;
};
/// `doctor roles` of such a model. Errors: kUsage without a file, those of the readers.
int sequence_roles(const Call& call,
                   const Model& model,
                   const SequenceRolesWishes& wishes,
                   std::string& out);
/// roles.json, which Model::load reads beside a model. Errors: kIo.
void write_roles(const std::filesystem::path& path, const std::vector<Role>& roles);

int doctor_roles(std::span<const std::string> arguments, Lang lang, std::string& out);
int doctor_rank(std::span<const std::string> arguments, Lang lang, std::string& out);
int doctor_patch(std::span<const std::string> arguments, Lang lang, std::string& out);
int doctor_prune(std::span<const std::string> arguments, Lang lang, std::string& out);
int doctor_regroup(std::span<const std::string> arguments, Lang lang, std::string& out);
int doctor_replay(std::span<const std::string> arguments, Lang lang, std::string& out);
int doctor_check(std::span<const std::string> arguments, Lang lang, std::string& out);

}  // namespace headscope::cli
