#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizers/jinja_value.h"

/// A template as a tree.
namespace headscope::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<const Expr>;

struct Expr {
  enum class Kind {
    kConstant,   ///< value
    kName,       ///< name
    kList,       ///< items
    kTuple,      ///< items
    kDict,       ///< items: key, value, key, value ...
    kAttribute,  ///< items[0] . name
    kItem,       ///< items[0] [items[1]]
    kSlice,      ///< items[0] [items[1] : items[2] : items[3]], null where left out
    kCall,       ///< items[0] (items[1...], named, more, more_named)
    kFilter,     ///< items[0] | name(as a call); items[0] is null at the head of a filter block
    kTest,       ///< items[0] is name(as a call)
    kUnary,      ///< name items[0]
    kBinary,     ///< items[0] name items[1]
    kConcat,     ///< items joined by ~
    kAnd,        ///< items[0] and items[1]
    kOr,         ///< items[0] or items[1]
    kCompare,    ///< items[0] names[0] items[1] names[1] items[2] ...
    kCondition,  ///< items[0] if items[1] else items[2] (or null)
  };
  Kind kind = Kind::kConstant;
  int line = 0;
  int depth = 1;
  Value value;
  std::string name;
  std::vector<std::string> names;
  std::vector<ExprPtr> items;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr more;        ///< *arguments
  ExprPtr more_named;  ///< **arguments
};

struct Stmt;
using Body = std::vector<std::unique_ptr<const Stmt>>;

struct Parameter {
  std::string name;
  ExprPtr fallback;  ///< null when there is none
};

struct Stmt {
  enum class Kind {
    kText,     ///< text
    kPrint,    ///< value
    kIf,       ///< value ? body : other
    kFor,      ///< target in value if condition: body, or other when there is nothing
    kSet,      ///< target = value
    kCapture,  ///< target = body, through value (filters) when not null
    kMacro,    ///< text(parameters): body
    kCall,     ///< value with body as its caller(parameters)
    kFilter,   ///< body through value
    kWith,     ///< targets = values: body
    kScope,    ///< body in a scope of its own
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kText;
  int line = 0;
  std::string text;
  ExprPtr target;
  ExprPtr value;
  ExprPtr condition;
  bool recursive = false;  ///< of a loop
  /// What a macro's body asks for by name: then it takes any further arguments, any names, a caller.
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
  std::vector<Parameter> parameters;
  std::vector<ExprPtr> targets;
  std::vector<ExprPtr> values;
  Body body;
  Body other;
};

/// One piece of a template.
struct Token {
  enum class Kind {
    kText,
    kPrintBegin,
    kPrintEnd,
    kTagBegin,
    kTagEnd,
    kName,
    kInteger,
    kFloat,
    kString,
    kOperator,
    kEnd
  };
  Kind kind = Kind::kEnd;
  int line = 1;
  std::string text;
};

/// The pieces of a template; white space goes as trim_blocks and lstrip_blocks say.
/// Failures: kInput, with `line` set to where.
std::vector<Token> tokenize(std::string_view source, int& line);
/// The tree of a template. Failures: kInput, kUnsupported (a tag), kResources (too deep), with
/// `line` set to where.
Body parse(std::string_view source, int depth, int& line);

}  // namespace headscope::jinja
