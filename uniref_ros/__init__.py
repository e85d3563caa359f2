"""ROS 2 nodes of uniref_ros: thin wrappers round `uniref_model.tracking`."""

from pkgutil import extend_path

# The generated interfaces (uniref_ros.msg, uniref_ros.srv) live in the install tree; when this source tree
# comes first on sys.path (python -m pytest, python -m uniref_ros.x) it must not hide them.
__path__ = extend_path(__path__, __name__)
